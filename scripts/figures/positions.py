"""Figure of the history's effect on each token of the target."""

from __future__ import annotations

import pandas as pd
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

#: Labelled effects: even steps up to 1 nat, logarithmic beyond.
TICKS = [0, *(sign * tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) for sign in (-1, 1))]


def positions(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw the mean log-probability gap over the token position, per objective."""
    data = values.astype({"position": str})
    data = style.some(data[data["position"] != "halves"])
    looks = style.looks(data["objective"])
    order = [p for p in data["position"].unique() if p.isdigit()]
    order = sorted(order, key=int) + [p for p in data["position"].unique() if p.endswith("+")]
    places = {position: i for i, position in enumerate(order)} | {"eos": len(order) + 0.5}
    blocks = list(data.groupby(["dataset", "backbone"], sort=False))
    figure, axes = style.wrapped(len(blocks), style.PAGE, 1.9, across=2)
    for i, (axis, ((dataset, backbone), here)) in enumerate(zip(axes, blocks, strict=True)):
        # Objectives with the causal term would flatten the others on a linear scale.
        axis.set_yscale("symlog", linthresh=1)
        axis.yaxis.set_major_locator(FixedLocator(TICKS))
        axis.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.axhline(0, color=style.NEUTRAL, linewidth=0.8)
        for objective, (colour, marker) in looks.items():
            points = here[here["objective"] == objective]
            if points.empty:  # Not every backbone is trained with every objective.
                continue
            points = points.assign(place=points["position"].map(places)).sort_values("place")
            eos = points["position"] == "eos"
            words, last = points[~eos], points[eos]
            axis.plot(words["place"], words["effect"], marker, ls="-", color=colour, ms=3)
            axis.fill_between(
                words["place"], words["low"], words["high"], color=colour, alpha=0.2, linewidth=0
            )
            axis.errorbar(
                last["place"],
                last["effect"],
                yerr=style.bars(last["low"], last["effect"], last["high"]),
                fmt=marker,
                color=colour,
                markersize=3,
            )
        axis.set_xticks(
            list(places.values()),
            [name if i % 2 == 0 or name == "eos" else "" for i, name in enumerate(places)],
        )
        axis.set_xlabel("token of the target")
        axis.set_ylabel("effect of the history (nats)" if i % 2 == 0 else "")
        style.panel_name(axis, f"{labels.dataset(dataset)}, {labels.block(backbone)}")
    style.legend(figure, [style.handle(n, look) for n, look in looks.items()])
    return Drawing(figure, data)
