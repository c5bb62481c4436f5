"""Table of the objective's parts: each alone and together, per decoder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.cells import BASELINES
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    choices,
    sample,
    with_p,
    with_sd,
    write,
)
from scripts.tables.gains import METRICS, shown_points

KEYS = ["dataset", "backbone", "decoder", "objective", "metric", "k"]


def ablation(
    accuracy: Path,
    gains: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """Set the objectives side by side, each with its difference to plain fine-tuning.

    Args:
        accuracy: `accuracy.csv` of the analyses.
        gains: `gains.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    values = read_csv(accuracy)
    values = values[(values["history"] == "with") & (values["recommender"] != BASELINES)]
    values = in_order(values.rename(columns={"recommender": "backbone"}), KEYS[:4])
    compared = read_csv(gains)
    compared = shown_points(compared[compared["history"] == "with"])
    compared = compared.assign(p=holm(compared["p"].to_numpy(float)))
    columns = [*KEYS, "difference", "low", "high", "p"]
    joined = values.drop(columns=["low", "high"]).merge(compared[columns], on=KEYS, how="left")
    rows = []
    for (dataset, backbone, decoder, objective), cell in joined.groupby(KEYS[:4], sort=False):
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Objective": objective,
        }
        points = cell.set_index(["metric", "k"])
        for name, (metric, k) in METRICS.items():
            point = points.loc[(metric, k)]
            row[name] = with_sd(point["value"], point["seed_sd"])
            row[f"Δ {name}"] = with_p(*point[["difference", "low", "high", "p"]])
        rows.append(row)
    bases = ", ".join(compared["base"].unique())
    notes = [
        sample(values, cost),
        "Values are means over seeds ± the standard deviation over seeds (no ± where there is one "
        f"seed). Δ: paired difference to {bases or 'the base'} with the same backbone, decoder and "
        f"seeds, with its interval in brackets and p. {INTERVALS} {P_VALUES} {UNDECIDED}",
        choices(chosen),
    ]
    write(pd.DataFrame(rows), output, notes, left=4)


if __name__ == "__main__":
    run(ablation)
