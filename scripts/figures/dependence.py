"""Figure of how much each objective leans on the history."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import over_seeds

MEASURES = ["with_history", "without_history", "ratio", "difference", "low", "high", "overlap"]
METRICS = ("hr", "ndcg")


def dependence(input: Path, labels: Labels, output: Path, k: int = 10) -> None:
    """Draw accuracy with and without the history, and the overlap of the two lists.

    Args:
        input: `dependence.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
        k: the cut-off K of the metrics.
    """
    values = read_csv(input)
    values = values[values["k"] == k].dropna(subset="with_history")
    data = style.some(over_seeds(values, MEASURES, "difference"), output)
    looks = style.looks(data["objective"])
    blocks = data[["dataset", "backbone"]].drop_duplicates()
    most = max(
        len(frame.drop_duplicates())
        for _, frame in data.groupby(["dataset", "backbone"])[["decoder", "objective"]]
    )
    figure, axes = style.panels(len(blocks), 3, style.PAGE, 0.5 + 0.15 * most)
    for row, (dataset, backbone) in zip(axes, blocks.itertuples(index=False), strict=True):
        here = data[(data["dataset"] == dataset) & (data["backbone"] == backbone)]
        height, ticks = 0.0, []
        for decoder, group in here.groupby("decoder", sort=False):
            objectives = group["objective"].unique()
            ticks.append((height + (len(objectives) - 1) / 2, labels.decoder(decoder)))
            for objective in objectives:
                colour, marker = looks[objective]
                points = group[group["objective"] == objective].set_index("metric")
                for axis, metric in zip(row, METRICS, strict=False):
                    point = points.loc[metric]
                    ends = [point["without_history"], point["with_history"]]
                    axis.plot(ends, [height, height], color=colour, alpha=0.5)
                    axis.plot(ends[0], height, marker, color=colour, mfc="white", clip_on=False)
                    axis.plot(ends[1], height, marker, color=colour, clip_on=False)
                row[2].plot(points["overlap"].iloc[0], height, marker, color=colour)
                height += 1
            height += 0.6
        for axis, name in zip(
            row, [*(f"{metric.upper()}@{k}" for metric in METRICS), "overlap@10"], strict=True
        ):
            axis.set_ylim(height - 0.1, -0.9)
            axis.set_yticks([tick for tick, _ in ticks], [name for _, name in ticks])
            axis.grid(visible=False, axis="y")
            axis.margins(x=0.08)
            axis.set_xlim(left=0)
            axis.locator_params(axis="x", nbins=5)
            axis.set_xlabel(name)
        for axis in row[1:]:
            axis.set_yticklabels([])
        style.panel_name(row[0], f"{labels.dataset(dataset)}, {labels.block(backbone)}")
    handles = [style.handle(labels.objective(name), look) for name, look in looks.items()]
    grey = style.handle("with history", (style.NEUTRAL, "o"), "")
    hollow = style.handle("without", (style.NEUTRAL, "o"), "")
    hollow.set_markerfacecolor("white")
    style.legend(figure, [*handles, grey, hollow], across=6)
    style.save(figure, data, output)


if __name__ == "__main__":
    run(dependence)
