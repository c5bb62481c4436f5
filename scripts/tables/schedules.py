"""Table of the weight schedules: objectives that differ in their token weights alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    choices,
    number,
    sample,
    with_p,
    with_sd,
    write,
)
from scripts.tables.gains import METRICS, shown_points

#: Positions whose weights are shown; the figure shows all.
POSITIONS = (1, 2, 3, 5, 10)
KEYS = ["dataset", "backbone", "decoder", "objective", "metric", "k"]


def schedules(
    accuracy: Path,
    gains: list[Path],
    schedules: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """Set equal, falling and learned token weights side by side, at the same alpha.

    Args:
        accuracy: `accuracy.csv` of the analyses.
        gains: gains over each objective with equal weights, of the objectives that differ from it
            in their weights alone.
        schedules: `schedules.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    weights = read_csv(schedules)
    compared = pd.concat([read_csv(path) for path in gains], ignore_index=True)
    compared = shown_points(compared[compared["history"] == "with"])
    compared = compared.assign(p=holm(compared["p"].to_numpy(float)))
    values = read_csv(accuracy).rename(columns={"recommender": "backbone"})
    values = values[values["history"] == "with"]
    # A base counts where there is something to compare it with.
    blocks = compared[[*KEYS[:3], "base"]].drop_duplicates()
    named = weights[["dataset", "backbone", "objective", "base", "alpha", "schedule"]]
    shown = named.drop_duplicates().merge(blocks, on=["dataset", "backbone", "base"])
    differences = compared[[*KEYS, "difference", "low", "high", "p"]]
    values = values.drop(columns=["low", "high"]).merge(shown, on=KEYS[:4])
    values = in_order(values, [*KEYS[:3], "base", "schedule", "objective"])
    joined = values.merge(differences, on=KEYS, how="left")
    rows = []
    for (dataset, backbone, decoder, objective), cell in joined.groupby(KEYS[:4], sort=False):
        first = cell.iloc[0]
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Objective": objective,
            "Weights": str(first["schedule"]),
            "α": f"{first['alpha']:g}",
        }
        points = cell.set_index(["metric", "k"])
        for name, (metric, k) in METRICS.items():
            point = points.loc[(metric, k)]
            row[name] = with_sd(point["value"], point["seed_sd"])
            row[f"Δ {name}"] = with_p(*point[["difference", "low", "high", "p"]])
        own = weights[(weights[KEYS[:2]] == [dataset, backbone]).all(axis=1)]
        means = own[own["objective"] == objective].groupby("position")["weight"].mean()
        row[f"Weight of tokens {', '.join(map(str, POSITIONS))}"] = " / ".join(
            number(means.get(position), 2) for position in POSITIONS
        )
        rows.append(row)
    notes = [
        sample(values, cost),
        "Values are means over seeds ± their standard deviation (no ± where there is one seed). Δ: "
        "paired difference to equal weights at the same α, with the same backbone, decoder and "
        f"seeds. {INTERVALS} {P_VALUES} {UNDECIDED}",
        "Weight: at the end of the training, mean over seeds and over the training answers, where "
        "1 is the mean of all tokens.",
        choices(chosen),
    ]
    write(pd.DataFrame(rows), output, notes, left=6)


if __name__ == "__main__":
    run(schedules)
