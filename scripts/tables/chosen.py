"""Table of what was chosen for the models, and on what."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import UNKNOWN, plain_number, span, write

#: Columns of the table by setting.
SETTINGS = {"alpha": "α", "beta": "β", "schedule": "Token weights", "epoch": "Epoch", "g": "g"}


def chosen(chosen: Path, labels: Labels, output: Path) -> None:
    """List the settings of every objective, with the values of its seeds.

    Args:
        chosen: `chosen.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
    """
    frame = read_csv(chosen).assign(value=lambda frame: plain_number(frame["value"]))
    keys = ["dataset", "backbone", "objective"]
    rows = []
    for key, cell in in_order(frame, keys).groupby(keys, sort=False):
        dataset, backbone, objective = key
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Objective": objective,
        } | dict.fromkeys(SETTINGS.values(), UNKNOWN)
        for setting, of_setting in cell.groupby("setting", sort=False):
            row[SETTINGS[setting]] = "; ".join(
                described(values, "" if pd.isna(decoder) else f"{labels.decoder(decoder)} ")
                for decoder, values in of_setting.groupby("decoder", sort=False, dropna=False)
            )
        rows.append(row)
    seeds = ", ".join(str(seed) for seed in sorted(frame["seed"].unique()))
    notes = [
        "α, β and the token weights are set in the config before training, and so is everything "
        'without an "of". Where it stands, the value was chosen from those after it: the epoch '
        "whose model is kept by the lowest loss, g by the highest NDCG@10, on so many examples of "
        f"the validation split. By seed ({seeds}) where the seeds differ. "
        "Nothing was chosen on the test split.",
    ]
    write(pd.DataFrame(rows), output, notes, left=3)


def described(rows: pd.DataFrame, before: str) -> str:
    """Values of a setting by seed, with what they were chosen from and on."""
    values = list(rows["value"])
    text = before + ", ".join(values[:1] if len(set(values)) == 1 else values)
    candidates = rows["candidates"].dropna().unique()
    if not len(candidates):
        return text
    return f"{text} of {' / '.join(candidates)} ({span(rows['examples'])} examples)"


if __name__ == "__main__":
    run(chosen)
