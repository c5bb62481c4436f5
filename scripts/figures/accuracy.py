"""Figure of accuracy: every recommender with its interval."""

from __future__ import annotations

from pathlib import Path

from scripts.cells import BASELINES
from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels

METRICS = ("hr", "ndcg")


def accuracy(input: Path, labels: Labels, output: Path, k: int = 10) -> None:
    """Draw HR@K and NDCG@K per data set and backbone: baselines, then decoder by objective.

    Args:
        input: `accuracy.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
        k: the cut-off K.
    """
    values = read_csv(input)
    values = values[(values["k"] == k) & (values["history"] == "with")].dropna(subset="value")
    data = style.some(values, output)
    llms = data[data["recommender"] != BASELINES]
    looks = style.looks(data["objective"])
    blocks = llms[["dataset", "block"]].drop_duplicates()
    if blocks.empty:
        blocks = data[["dataset", "block"]].drop_duplicates()
    data = data.merge(blocks)
    # Within a decoder the objectives stand in the order of the legend.
    places = {name: i for i, name in enumerate(style.looks(llms["objective"]))}
    lines = data.groupby(["dataset", "block"], sort=False)[["recommender", "objective", "decoder"]]
    most = max(len(frame.drop_duplicates()) for _, frame in lines)
    figure, axes = style.panels(len(blocks), 2, style.PAGE, 0.45 + 0.135 * most)
    for row, (dataset, block) in zip(axes, blocks.itertuples(index=False), strict=True):
        here = data[(data["dataset"] == dataset) & (data["block"] == block)]
        for axis, metric in zip(row, METRICS, strict=True):
            ticks = []
            height = 0.0
            points = here[here["metric"] == metric]
            groups = points.assign(
                line=points["decoder"].where(
                    points["recommender"] != BASELINES, points["objective"]
                )
            ).groupby(["recommender", "line"], sort=False)
            for (recommender, line), group in groups:
                middle = height + (len(group) - 1) / 2
                baseline = recommender == BASELINES
                name = labels.baselines.get(line, line) if baseline else labels.decoder(line)
                ticks.append((middle, name))
                for point in group.sort_values(
                    "objective", key=lambda names: names.map(places), kind="stable"
                ).itertuples():
                    colour, marker = looks[point.objective]
                    axis.plot([point.low, point.high], [height, height], color=colour)
                    axis.plot(point.value, height, marker, color=colour, clip_on=False)
                    height += 1
                height += 0.6
            axis.set_ylim(height - 0.1, -0.9)
            axis.set_yticks([tick for tick, _ in ticks], [name for _, name in ticks])
            axis.grid(visible=False, axis="y")
            axis.set_xlim(left=0)
            axis.locator_params(axis="x", nbins=5)
            axis.set_xlabel(f"{metric.upper()}@{k}")
        row[1].set_yticklabels([])
        style.panel_name(row[0], f"{labels.dataset(dataset)}, {labels.block(block)}")
    # Baselines are named beside their points.
    handles = [style.handle(name, looks[name]) for name in places]
    if handles:
        style.legend(figure, handles, across=5)
    style.save(figure, data, output)


if __name__ == "__main__":
    run(accuracy)
