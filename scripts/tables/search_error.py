"""Table of what beam search misses against the exact ranking."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels
from scripts.rows import UNKNOWN
from scripts.tables.format import (
    DIFFERENCES,
    Table,
    names_of,
    number,
    sample,
    with_interval,
    with_p,
)


def search_error(search_error: pd.DataFrame, labels: Labels) -> Table:
    """List overlap, proof and accuracy of every width, and of the exact ranking."""
    rows = []
    model = ["dataset", "backbone", "objective"]
    for (*key, beams), cell in search_error.groupby([*model, "beams"], sort=False, dropna=False):
        first, exact = cell.iloc[0], pd.isna(beams)
        row = names_of(labels, model, key) | {
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
                UNKNOWN if exact else with_p(*point[["difference", "low", "high", "p_holm"]])
            )
        rows.append(row)
    notes = [
        sample(search_error),
        "Constrained search without length penalty, with history. Exact: every title of the "
        "catalogue scored. Overlap@10: share of the exact top 10 that the list's top 10 holds; a "
        "list is as long as the search is wide, so that 5 beams reach 0.5 at most, and their HR "
        "and NDCG at 10 are not known. Proven: share of the examples for which the search itself "
        "knows that its top 10 is the exact one. "
        f"Δ: minus exact, paired. {DIFFERENCES}",
    ]
    return Table(pd.DataFrame(rows), notes, left=4)
