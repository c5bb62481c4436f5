"""Figure of accuracy, time and memory against the length of the histories."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

MEASURES = {
    "hr": "HR@{k}",
    "ndcg": "NDCG@{k}",
    "training_seconds_per_step": "seconds per step",
    "training_peak_memory_mb": "peak memory (MB)",
}
#: Lines of several objectives stand apart by this share of the length, so that intervals show.
APART = 0.04


def history_length(values: pd.DataFrame, labels: Labels, k: int) -> Drawing:
    """Draw HR@K, NDCG@K, time per training step and memory over the longest history."""
    values = values[values["metric"].isin(MEASURES) & values["k"].isin([k, float("nan")])]
    data = style.some(values.dropna(subset="value"))
    looks = style.looks(data["objective"])
    blocks = data.groupby(["dataset", "backbone", "decoder"], sort=False)
    figure, axes = style.panels(len(blocks), len(MEASURES), style.PAGE, 1.7)
    for row, ((dataset, backbone, decoder), here) in zip(axes, blocks, strict=True):
        lengths = sorted(here["length"].unique())
        for axis, (metric, name) in zip(row, MEASURES.items(), strict=True):
            for i, (objective, look) in enumerate(looks.items()):
                points = here[(here["metric"] == metric) & (here["objective"] == objective)]
                points = points.sort_values("length")
                place = points["length"] * (1 + APART * (i - (len(looks) - 1) / 2))
                style.intervals(axis, place, points, look, line="-", elinewidth=1)
            axis.set_xscale("log")
            axis.set_xticks(lengths, [str(length) for length in lengths])
            axis.set_xticks([], minor=True)
            axis.margins(x=0.12, y=0.1)
            # From 0, and with room for the highest marker.
            axis.set_ylim(0, 1.06 * axis.get_ylim()[1])
            axis.grid(visible=False, axis="x")
            axis.locator_params(axis="y", nbins=5)
            axis.set_xlabel("longest history")
            axis.set_ylabel(name.format(k=k))
        # In three lines, as a longer name would push the panels apart.
        names = labels.dataset(dataset), labels.block(backbone), labels.decoder(decoder)
        style.panel_name(row[0], *names)
    style.legend(figure, [style.handle(n, look) for n, look in looks.items()])
    return Drawing(figure, data)
