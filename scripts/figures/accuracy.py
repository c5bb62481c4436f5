"""Figure of accuracy: every recommender with its interval."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

METRICS = ("hr", "ndcg")


def accuracy(values: pd.DataFrame, labels: Labels, k: int) -> Drawing:
    """Draw HR@K and NDCG@K per data set and backbone: baselines, then decoder by objective."""
    values = values[(values["k"] == k) & (values["history"] == "with")].dropna(subset="value")
    data = style.some(values)
    looks = style.looks([*data["objective"], *data["baseline"]])
    data = style.of_models(data)
    # Within a decoder the objectives stand in the order of the legend.
    places = {name: i for i, name in enumerate(style.looks(data["objective"]))}
    blocks = data.groupby(["dataset", "block"], sort=False)
    keys = ["baseline", "objective", "decoder"]
    most = max(len(here[keys].drop_duplicates()) for _, here in blocks)
    figure, axes = style.panels(len(blocks), 2, style.PAGE, 0.45 + 0.135 * most)
    for row, ((dataset, block), here) in zip(axes, blocks, strict=True):
        for axis, metric in zip(row, METRICS, strict=True):
            ticks = []
            height = 0.0
            points = here[here["metric"] == metric]
            for (baseline, decoder), group in points.groupby(["baseline", "decoder"], sort=False):
                middle = height + (len(group) - 1) / 2
                name = labels.baselines.get(baseline, baseline) or labels.decoder(decoder)
                ticks.append((middle, name))
                for point in group.sort_values(
                    "objective", key=lambda names: names.map(places), kind="stable"
                ).itertuples():
                    colour, marker = looks[point.baseline or point.objective]
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
    return Drawing(figure, data)
