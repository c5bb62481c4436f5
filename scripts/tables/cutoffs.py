"""Table of accuracy at every cut-off K."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.contracts import CUTOFFS
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables.accuracy import best, blocks
from scripts.tables.format import UNKNOWN, choices, sample, with_sd, write
from scripts.tables.settings import Method

METRICS = {f"{metric.upper()}@{k}": (metric, k) for metric in ("hr", "ndcg") for k in CUTOFFS}


def cutoffs(
    accuracy: Path,
    methods: list[Method],
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """Set baselines and methods side by side at every K.

    Args:
        accuracy: `accuracy.csv` of the analyses.
        methods: the rows after the baselines; one without a cell in a block is left out of it.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    values = read_csv(accuracy)
    rows: list[dict[str, str]] = []
    bold: set[tuple[int, str]] = set()
    for name, block in blocks(values, methods, labels):
        found = {}
        for label, points in block.items():
            measured = points.set_index(["metric", "k"])
            found[len(rows)] = measured["value"]
            texts = {
                column: with_sd(*measured.loc[point, ["value", "seed_sd"]])
                for column, point in METRICS.items()
            }
            rows.append(name | {"Method": label} | texts)
        bold |= best(pd.DataFrame(found), METRICS)
    notes = [
        sample(values, cost) if len(values) else "",
        "Rows of one block rest on the very same test examples; the whole catalogue is ranked. "
        "Values are means over seeds ± the standard deviation over seeds (no ± where there is one "
        f"seed). {UNKNOWN}: K lies beyond the recommender's list. Bold: the highest mean of the "
        "block, which is no statement about significance.",
        choices(chosen),
    ]
    write(pd.DataFrame(rows), output, notes, left=3, bold=bold)


if __name__ == "__main__":
    run(cutoffs)
