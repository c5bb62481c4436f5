"""Table of what beam search misses against the exact ranking."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables.format import UNDECIDED, UNKNOWN, number, sample, with_interval, write


def search_error(search_error: Path, labels: Labels, output: Path) -> None:
    """List overlap, proof and accuracy of every width, and of the exact ranking.

    Args:
        search_error: `search_error.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
    """
    frame = read_csv(search_error)
    rows = []
    keys = ["dataset", "backbone", "objective", "seed", "beams"]
    for key, cell in frame.groupby(keys, sort=False, dropna=False):
        dataset, backbone, objective, _, beams = key
        first = cell.iloc[0]
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Objective": labels.objective(objective),
            "Beams": "exact" if pd.isna(beams) else f"{beams:.0f}",
            "Overlap@10": number(first["overlap"], 3),
            "Proven": number(first["proven"], 2),
        }
        for metric, point in cell.set_index("metric").iterrows():
            name = f"{str(metric).upper()}@{point['k']:.0f}"
            row[name] = number(point["value"])
            row[f"Δ {name}"] = (
                UNKNOWN
                if pd.isna(beams)
                else with_interval(point["difference"], point["low"], point["high"], sign=True)
            )
        rows.append(row)
    notes = [
        sample(frame, None),
        "Constrained search without length penalty, with history. Exact: every title of the "
        "catalogue scored. Overlap@10: share of the exact top 10 that the list's top 10 holds; a "
        "list is as long as the search is wide, so that 5 beams reach 0.5 at most. Proven: share "
        "of the examples for which the search itself knows that its top 10 is the exact one. "
        "Δ: minus exact; its 95 % interval in brackets resamples users, examples paired. "
        f"{UNDECIDED}",
    ]
    write(pd.DataFrame(rows), output, notes, left=4)


if __name__ == "__main__":
    run(search_error)
