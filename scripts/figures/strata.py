"""Figure of what each objective gains by the user's activity and by the target's popularity."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

METRIC = "ndcg"
SIDES = {
    "activity": "earlier interactions of the user (test examples)",
    "popularity": "popularity group of the target (test examples)",
}


def strata(values: pd.DataFrame, labels: Labels, k: int) -> Drawing:
    """Draw the paired difference to the base per stratum, data set, backbone and decoder."""
    data = style.some(values[(values["metric"] == METRIC) & (values["k"] == k)])
    looks = style.looks(data["objective"])
    keys = ["dataset", "backbone", "decoder"]
    rows = data.groupby(keys, sort=False)
    figure, axes = style.panels(len(rows), len(SIDES), style.PAGE, 1.15, sharey=True)
    for row, ((dataset, backbone, decoder), here) in zip(axes, rows, strict=True):
        shown = [name for name in looks if name in set(here["objective"])]
        for axis, by in zip(row, SIDES, strict=True):
            side = here[here["by"] == by]
            sizes = side.drop_duplicates("stratum").set_index("stratum")["examples"]
            place = {stratum: i for i, stratum in enumerate(sizes.index)}
            axis.axhline(0, color=style.NEUTRAL, linewidth=0.8)
            for i, objective in enumerate(shown):
                points = side[side["objective"] == objective]
                x = points["stratum"].map(place).astype(float) + 0.2 * (i - (len(shown) - 1) / 2)
                known = points["low"].notna()
                look, names = looks[objective], ("difference", "low", "high")
                size = {"markersize": 3.5}
                style.intervals(axis, x[known], points[known], look, names, elinewidth=1, **size)
                few = points["difference"][~known]
                axis.plot(x[~known], few, look[1], color=look[0], mfc="white", **size)
            axis.set_xticks(list(place.values()), [f"{name}\n({n:,})" for name, n in sizes.items()])
            axis.set_xlim(-0.6, max(len(place), 1) - 0.4)
            axis.grid(visible=False, axis="x")
            axis.locator_params(axis="y", nbins=5)
            axis.margins(y=0.12)
        style.panel_name(
            row[0],
            f"{labels.dataset(dataset)}, {labels.block(backbone)}, {labels.decoder(decoder)}",
        )
        row[0].set_ylabel(f"{METRIC.upper()}@{k}\ndifference")
    for axis, title in zip(axes[-1], SIDES.values(), strict=True):
        axis.set_xlabel(title)
    bases = ", ".join(data["base"].unique())
    handles = [style.handle(f"{name} − {bases}", look, "") for name, look in looks.items()]
    hollow = style.handle("too few users differ", (style.NEUTRAL, "o"), "")
    hollow.set_markerfacecolor("white")
    style.legend(figure, [*handles, *([hollow] if data["low"].isna().any() else [])])
    return Drawing(figure, data)
