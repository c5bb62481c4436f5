"""Figure of what each objective gains over its base."""

from __future__ import annotations

import textwrap

import pandas as pd

from scripts import style
from scripts.cells import BASE
from scripts.labels import Labels
from scripts.style import Drawing

METRICS = ("hr", "ndcg")


def gains(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw the paired difference to the base over K, per data set, backbone and decoder."""
    shown = (values["history"] == "with") & (values["base"] == BASE)
    data = style.some(values[shown].dropna(subset="difference"))
    looks = style.looks(data["objective"])
    decoders = data["decoder"].unique()
    # More than four panels side by side cannot be read at the width of a page.
    metrics = METRICS if len(decoders) <= 2 else METRICS[-1:]
    data = data[data["metric"].isin(metrics)]
    rows = data.groupby(["dataset", "backbone"], sort=False)
    columns = [(metric, decoder) for metric in metrics for decoder in decoders]
    cutoffs = {k: i for i, k in enumerate(sorted(data["k"].unique()))}
    figure, axes = style.panels(len(rows), len(columns), style.PAGE, 1.35)
    for i_row, (row, ((dataset, backbone), block)) in enumerate(zip(axes, rows, strict=True)):
        for axis, (metric, decoder) in zip(row, columns, strict=True):
            here = block[(block["metric"] == metric) & (block["decoder"] == decoder)]
            if i_row == 0:
                style.panel_name(axis, f"{metric.upper()}@K", labels.decoder(decoder))
            if here.empty:
                axis.axis("off")
                continue
            axis.axhline(0, color=style.NEUTRAL, linewidth=0.8)
            for i, (objective, look) in enumerate(looks.items()):
                points = here[here["objective"] == objective]
                place = points["k"].map(cutoffs) + 0.2 * (i - (len(looks) - 1) / 2)
                names = ("difference", "low", "high")
                style.intervals(axis, place, points, look, names, markersize=3, elinewidth=1)
            axis.set_xticks(list(cutoffs.values()), [str(k) for k in cutoffs])
            axis.set_xlim(-0.6, len(cutoffs) - 0.4)
            axis.grid(visible=False, axis="x")
            axis.locator_params(axis="y", nbins=5)
        # Wrapped to the height of a row.
        names = [labels.dataset(dataset), labels.block(backbone)]
        first = next(axis for axis in row if axis.axison)
        first.set_ylabel("\n".join(textwrap.fill(name, 20) for name in names))
    for column in axes.T:
        [axis for axis in column if axis.axison][-1].set_xlabel("K")
    handles = [style.handle(f"{name} − {BASE}", look, "") for name, look in looks.items()]
    style.legend(figure, handles)
    return Drawing(figure, data)
