"""Table of the sensitivity to alpha and beta."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.analyse.measure import COMPARED
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import SIGNS, Labels
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    UNKNOWN,
    sample,
    with_interval,
    with_p,
    write,
)
from scripts.tables.gains import METRICS, shown_points


def sensitivity(sensitivity: Path, labels: Labels, output: Path, cost: Path | None = None) -> None:
    """List the accuracy at every point of the grid.

    Args:
        sensitivity: `sensitivity.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
    """
    values = shown_points(read_csv(sensitivity))
    # The centre stands on both axes: its comparison is one.
    keys = ["dataset", "backbone", "decoder", "objective", "metric", "k"]
    once = values["p"].where(~values.duplicated(keys))
    values = values.assign(p=holm(once.to_numpy(float)))
    values["p"] = values.groupby(keys)["p"].transform("first")
    rows = []
    keys = ["dataset", "backbone", "decoder", "parameter", "parameter_value", "objective"]
    for key, cell in values.groupby(keys, sort=False, dropna=False):
        dataset, backbone, decoder, parameter, value, objective = key
        point = f"{SIGNS[parameter]} = {value:g}" if parameter in SIGNS else "base"
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Varied": point,
            "Objective": objective,
        }
        measured = cell.set_index(["metric", "k"])
        for name, (metric, k) in METRICS.items():
            row[name] = with_interval(*measured.loc[(metric, k), ["value", "low", "high"]])
            row[f"Δ {name}"] = with_p(*measured.loc[(metric, k), COMPARED])
        rows.append(row)
    notes = [
        sample(values, cost),
        "Means over seeds, with their 95 % intervals in brackets. Δ: paired difference to the base "
        f"with the same seeds, with its interval and p. {INTERVALS} {P_VALUES} {UNDECIDED} "
        f"{UNKNOWN}: the base itself, or K beyond the list.",
        "The points of the grid are set in the config before training; nothing was chosen on the "
        "test split.",
    ]
    write(pd.DataFrame(rows), output, notes, left=5)


if __name__ == "__main__":
    run(sensitivity)
