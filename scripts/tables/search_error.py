"""Table of what beam search misses against the exact ranking."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    UNKNOWN,
    choices,
    number,
    sample,
    with_interval,
    with_p,
    write,
)


def search_error(
    search_error: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """List overlap, proof and accuracy of every width, and of the exact ranking.

    Args:
        search_error: `search_error.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    frame = read_csv(search_error)
    frame = frame.assign(p=holm(frame["p"].to_numpy(float)))
    rows = []
    keys = ["dataset", "backbone", "objective", "beams"]
    for key, cell in frame.groupby(keys, sort=False, dropna=False):
        dataset, backbone, objective, beams = key
        first, exact = cell.iloc[0], pd.isna(beams)
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Objective": objective,
            "Beams": "exact" if exact else f"{beams:.0f}",
            "Overlap@10": UNKNOWN
            if exact
            else with_interval(first["overlap"], first["overlap_low"], first["overlap_high"], 3),
            "Proven": UNKNOWN if exact else number(first["proven"], 2),
        }
        for metric, point in cell.set_index("metric").iterrows():
            name = f"{str(metric).upper()}@{point['k']:.0f}"
            row[name] = number(point["value"])
            row[f"Δ {name}"] = (
                UNKNOWN if exact else with_p(*point[["difference", "low", "high", "p"]])
            )
        rows.append(row)
    notes = [
        sample(frame, cost),
        "Constrained search without length penalty, with history. Exact: every title of the "
        "catalogue scored. Overlap@10: share of the exact top 10 that the list's top 10 holds; a "
        "list is as long as the search is wide, so that 5 beams reach 0.5 at most, and their HR "
        "and NDCG at 10 are not known. Proven: share of the examples for which the search itself "
        "knows that its top 10 is the exact one. "
        f"Δ: minus exact, paired. {INTERVALS} {P_VALUES} {UNDECIDED}",
        choices(chosen),
    ]
    write(pd.DataFrame(rows), output, notes, left=4)


if __name__ == "__main__":
    run(search_error)
