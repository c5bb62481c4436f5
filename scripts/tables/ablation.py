"""Table of the objective's parts: each alone and together, per decoder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.cells import BASELINES
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order, over_seeds
from scripts.tables.format import UNDECIDED, sample, with_interval, with_sd, write

METRICS = (("hr", 5), ("hr", 10), ("ndcg", 5), ("ndcg", 10))
KEYS = ["dataset", "backbone", "decoder", "objective", "metric", "k"]


def ablation(
    accuracy: Path,
    gains: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
) -> None:
    """Set the objectives side by side, each with its difference to plain fine-tuning.

    Args:
        accuracy: `accuracy.csv` of the analyses.
        gains: `gains.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
    """
    values = read_csv(accuracy)
    values = values[(values["history"] == "with") & (values["recommender"] != BASELINES)]
    values = values.rename(columns={"recommender": "backbone"})
    summary = in_order(over_seeds(values, ["value", "low", "high"], "value"), KEYS[:4])
    compared = read_csv(gains)
    compared = compared[compared["history"] == "with"]
    columns = [*KEYS, "base", "difference", "low", "high"]
    joined = summary.drop(columns=["low", "high"]).merge(compared[columns], on=KEYS, how="left")
    rows = []
    for (dataset, backbone, decoder, objective), cell in joined.groupby(KEYS[:4], sort=False):
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Objective": labels.objective(objective),
        }
        points = cell.set_index(["metric", "k"])
        for metric, k in METRICS:
            point = points.loc[(metric, k)]
            name = f"{metric.upper()}@{k}"
            row[name] = with_sd(point["value"], point["sd"])
            row[f"Δ {name}"] = with_interval(
                point["difference"], point["low"], point["high"], sign=True
            )
        rows.append(row)
    bases = ", ".join(labels.objective(base) for base in compared["base"].unique())
    notes = [
        sample(summary, cost),
        "Values are means over seeds ± the standard deviation over seeds (no ± where there is one "
        f"seed). Δ: difference to {bases or 'the base'} with the same backbone, decoder and seeds, "
        "with its 95 % interval in brackets (users resampled, examples paired). " + UNDECIDED,
    ]
    write(pd.DataFrame(rows), output, notes, left=4)


if __name__ == "__main__":
    run(ablation)
