"""Table of accuracy at every cut-off K."""

from __future__ import annotations

import pandas as pd

from scripts.contracts import CUTOFFS
from scripts.labels import Labels, Method
from scripts.rows import UNKNOWN
from scripts.tables.accuracy import HIGHEST, SAME_EXAMPLES, best, blocks, cells
from scripts.tables.format import Table, sample, with_sd

COLUMNS = {f"{metric.upper()}@{k}": (metric, k) for metric in ("hr", "ndcg") for k in CUTOFFS}


def cutoffs(accuracy: pd.DataFrame, labels: Labels, methods: list[Method]) -> Table:
    """Set baselines and methods side by side at every K."""
    rows: list[dict[str, str]] = []
    bold: set[tuple[int, str]] = set()
    for name, block in blocks(accuracy, methods, labels):
        numbers = {}
        for label, points in block.items():
            numbers[len(rows)] = points.set_index(["metric", "k"])["value"]
            texts = cells(points, COLUMNS, with_sd, ["value", "seed_sd"])
            rows.append(name | {"Method": label} | texts)
        bold |= best(pd.DataFrame(numbers), COLUMNS)
    notes = [
        sample(accuracy),
        f"{SAME_EXAMPLES} Values are means over seeds ± the standard deviation over seeds (no ± "
        f"where there is one seed). {UNKNOWN}: K lies beyond the recommender's list. {HIGHEST}",
    ]
    return Table(pd.DataFrame(rows), notes, left=3, bold=bold)
