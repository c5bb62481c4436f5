"""Table of what the methods gain on one backbone and on another, of the same data set."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels, Method
from scripts.rows import in_order
from scripts.tables.comparisons import NOTE, compared, gain_table
from scripts.tables.format import Table, sample


def backbones(
    gains: pd.DataFrame, headline: pd.DataFrame, labels: Labels, methods: list[Method]
) -> Table:
    """List the gains of every method by backbone, on the data sets that several backbones share."""
    shown = compared(gains, methods)
    several = shown.groupby(["dataset", "method"])["backbone"].transform("nunique") > 1
    shown = in_order(shown[several], ["dataset", "method", "backbone"])
    notes = [
        sample(shown),
        "Backbones may be evaluated on different sub-samples of the test split, of the sizes that "
        "the study gives them, so each gain is paired within its backbone and the rows are not "
        f"paired with each other. {NOTE}",
    ]
    return Table(gain_table(shown, compared(headline, methods), labels), notes, left=4)
