"""Figure of the sensitivity to alpha and beta."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import SIGNS, Labels

METRICS = ("hr", "ndcg")


def sensitivity(input: Path, labels: Labels, output: Path, k: int = 10) -> None:
    """Draw HR@K and NDCG@K over alpha and over beta, with the base as a line.

    Args:
        input: `sensitivity.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
        k: the cut-off K.
    """
    data = read_csv(input)
    data = style.some(data[data["k"] == k].dropna(subset="value"), output)
    parameters = [name for name in SIGNS if (data["parameter"] == name).any()]
    blocks = data[["dataset", "backbone", "decoder"]].drop_duplicates()
    columns = [(metric, parameter) for metric in METRICS for parameter in parameters]
    figure, axes = style.panels(len(blocks), len(columns), style.PAGE, 1.7)
    colour, marker = style.OBJECTIVES["cft"]
    bases = data.loc[data["parameter"] == "base", "objective"].unique()
    base_colour = style.looks(bases)[bases[0]][0] if len(bases) else style.NEUTRAL
    for row, block in zip(axes, blocks.itertuples(index=False), strict=True):
        here = data[(data[blocks.columns] == list(block)).all(axis=1)]
        for axis, (metric, parameter) in zip(row, columns, strict=True):
            measured = here[here["metric"] == metric]
            for base in measured[measured["parameter"] == "base"].itertuples():
                axis.axhspan(base.low, base.high, color=base_colour, alpha=0.12, linewidth=0)
                axis.axhline(base.value, color=base_colour, linestyle="--")
            points = measured[measured["parameter"] == parameter].sort_values("parameter_value")
            places = range(len(points))
            axis.errorbar(
                places,
                points["value"],
                yerr=style.bars(points["low"], points["value"], points["high"]),
                fmt=f"{marker}-",
                color=colour,
                elinewidth=1,
            )
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
        dataset, backbone, decoder = block
        # In three lines, as a longer name would push the panels apart.
        names = labels.dataset(dataset), labels.block(backbone), labels.decoder(decoder)
        style.panel_name(row[0], *names)
    handles = [style.handle("points of the grid", (colour, marker))]
    handles += [style.handle(f"{base} (base)", (base_colour, ""), "--") for base in bases]
    style.legend(figure, handles)
    style.save(figure, data, output)


if __name__ == "__main__":
    run(sensitivity)
