"""Figure of the sensitivity to alpha and beta."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import SIGNS, Labels
from scripts.style import Drawing

METRICS = ("hr", "ndcg")


def sensitivity(values: pd.DataFrame, labels: Labels, k: int) -> Drawing:
    """Draw HR@K and NDCG@K over alpha and over beta, with the base as a line."""
    data = style.some(values[values["k"] == k].dropna(subset="value"))
    parameters = [name for name in SIGNS if (data["parameter"] == name).any()]
    blocks = data.groupby(["dataset", "backbone", "decoder"], sort=False)
    columns = [(metric, parameter) for metric in METRICS for parameter in parameters]
    figure, axes = style.panels(len(blocks), len(columns), style.PAGE, 1.7)
    look = style.OBJECTIVES["cft"]
    bases = data.loc[data["parameter"] == "base", "objective"].unique()
    base_colour = style.looks(bases)[bases[0]][0] if len(bases) else style.NEUTRAL
    for row, ((dataset, backbone, decoder), here) in zip(axes, blocks, strict=True):
        for axis, (metric, parameter) in zip(row, columns, strict=True):
            measured = here[here["metric"] == metric]
            for base in measured[measured["parameter"] == "base"].itertuples():
                axis.axhspan(base.low, base.high, color=base_colour, alpha=0.12, linewidth=0)
                axis.axhline(base.value, color=base_colour, linestyle="--")
            points = measured[measured["parameter"] == parameter].sort_values("parameter_value")
            places = range(len(points))
            style.intervals(axis, places, points, look, line="-", elinewidth=1)
            values = [f"{value:g}" for value in points["parameter_value"]]
            axis.set_xticks(list(places), values, rotation=90 if len(values) > 4 else 0)
            axis.margins(x=0.12)
            axis.grid(visible=False, axis="x")
            axis.locator_params(axis="y", nbins=5)
            axis.set_xlabel(SIGNS[parameter])
            if parameter != parameters[0]:
                axis.sharey(row[columns.index((metric, parameters[0]))])
                axis.tick_params(labelleft=False)
            else:
                axis.set_ylabel(f"{metric.upper()}@{k}")
        # In three lines, as a longer name would push the panels apart.
        names = labels.dataset(dataset), labels.block(backbone), labels.decoder(decoder)
        style.panel_name(row[0], *names)
    handles = [style.handle("points of the grid", look)]
    handles += [style.handle(f"{base} (base)", (base_colour, ""), "--") for base in bases]
    style.legend(figure, handles)
    return Drawing(figure, data)
