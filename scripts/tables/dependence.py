"""Table of how much each objective leans on the history."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order, over_seeds
from scripts.tables.format import UNDECIDED, UNKNOWN, number, sample, with_interval, write

METRICS = (("hr", 10), ("ndcg", 10))
MEASURES = ["with_history", "without_history", "ratio", "difference", "low", "high", "overlap"]


def dependence(dependence: Path, labels: Labels, output: Path, cost: Path | None = None) -> None:
    """Set accuracy with and without the history side by side.

    Args:
        dependence: `dependence.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
    """
    keys = ["dataset", "backbone", "decoder", "objective"]
    summary = in_order(over_seeds(read_csv(dependence), MEASURES, "difference"), keys)
    rows = []
    for (dataset, backbone, decoder, objective), cell in summary.groupby(keys, sort=False):
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Objective": labels.objective(objective),
        }
        points = cell.set_index(["metric", "k"])
        for metric, k in METRICS:
            point, name = points.loc[(metric, k)], f"{metric.upper()}@{k}"
            row[f"{name} with"] = number(point["with_history"])
            row[f"{name} without"] = number(point["without_history"])
            row[f"{name} ratio"] = number(point["ratio"], 2)
            row[f"Δ {name}"] = with_interval(
                point["difference"], point["low"], point["high"], sign=True
            )
        row["Overlap@10"] = number(cell["overlap"].iloc[0], 2)
        rows.append(row)
    notes = [
        sample(summary, cost),
        "Means over seeds. Ratio: without over with, averaged over the seeds where it is defined. "
        "Δ: with minus without; its 95 % interval in brackets resamples users, examples paired, "
        "bounds averaged over seeds. Overlap@10: share of the top 10 with the history that the top "
        f"10 without it holds too. {UNKNOWN}: unknown or undefined. {UNDECIDED}",
    ]
    write(pd.DataFrame(rows), output, notes, left=4)


if __name__ == "__main__":
    run(dependence)
