"""Table of the sensitivity to alpha and beta."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import over_seeds
from scripts.tables.format import UNKNOWN, sample, with_interval, write

METRICS = (("hr", 5), ("hr", 10), ("ndcg", 5), ("ndcg", 10))
SIGNS = {"alpha": "α", "beta": "β"}


def sensitivity(sensitivity: Path, labels: Labels, output: Path, cost: Path | None = None) -> None:
    """List the accuracy at every point of the grid.

    Args:
        sensitivity: `sensitivity.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
    """
    summary = over_seeds(read_csv(sensitivity), ["value", "low", "high"], "value")
    rows = []
    keys = ["dataset", "backbone", "decoder", "parameter", "parameter_value", "objective"]
    for key, cell in summary.groupby(keys, sort=False, dropna=False):
        dataset, backbone, decoder, parameter, value, objective = key
        point = f"{SIGNS[parameter]} = {value:g}" if parameter in SIGNS else "base"
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Varied": point,
            "Objective": labels.objective(objective),
        }
        points = cell.set_index(["metric", "k"])
        for metric, k in METRICS:
            measured = points.loc[(metric, k)]
            row[f"{metric.upper()}@{k}"] = with_interval(
                measured["value"], measured["low"], measured["high"]
            )
        rows.append(row)
    notes = [
        sample(summary, cost),
        "Means over seeds; in brackets the 95 % interval (users resampled, bounds averaged over "
        "seeds). The interval is that of a value alone, not of a difference between rows; rows "
        f"whose intervals overlap are undecided at this size. {UNKNOWN}: K beyond the list.",
    ]
    write(pd.DataFrame(rows), output, notes, left=5)


if __name__ == "__main__":
    run(sensitivity)
