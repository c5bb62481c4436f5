"""Table of the sensitivity to alpha and beta."""

from __future__ import annotations

import pandas as pd

from scripts.evaluate.measure import ADJUSTED, SHOWN
from scripts.labels import SIGNS, Labels
from scripts.rows import UNKNOWN
from scripts.tables.format import DIFFERENCES, Table, names_of, sample, with_interval, with_p


def sensitivity(sensitivity: pd.DataFrame, labels: Labels) -> Table:
    """List the accuracy at every point of the grid."""
    rows = []
    block, point = ["dataset", "backbone", "decoder"], ["parameter", "parameter_value", "objective"]
    groups = sensitivity.groupby([*block, *point], sort=False, dropna=False)
    for (*key, parameter, value, objective), cell in groups:
        row = names_of(labels, block, key) | {
            "Varied": f"{SIGNS[parameter]} = {value:g}" if parameter in SIGNS else "base",
            "Objective": objective,
        }
        measured = cell.set_index(["metric", "k"])
        for name, shown in SHOWN.items():
            row[name] = with_interval(*measured.loc[shown, ["value", "low", "high"]])
            row[f"Δ {name}"] = with_p(*measured.loc[shown, ADJUSTED])
        rows.append(row)
    notes = [
        sample(sensitivity),
        "Means over seeds, with their 95 % intervals in brackets. Δ: paired difference to the base "
        f"with the same seeds, with its interval and p. {DIFFERENCES} "
        f"{UNKNOWN}: the base itself, or K beyond the list.",
        "The points of the grid are set in the config before training; nothing was chosen on the "
        "test split.",
    ]
    return Table(pd.DataFrame(rows), notes, left=5)
