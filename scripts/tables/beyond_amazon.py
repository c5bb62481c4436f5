"""Table of what the methods gain on data sets that are not Amazon's."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels, Method
from scripts.rows import in_order
from scripts.tables.comparisons import NOTE, compared, gain_table
from scripts.tables.format import Table, sample


def beyond_amazon(
    gains: pd.DataFrame,
    headline: pd.DataFrame,
    labels: Labels,
    methods: list[Method],
    datasets: list[str],
) -> Table:
    """List the gains of every method on some of the data sets."""
    shown = compared(gains, methods)
    shown = in_order(shown[shown["dataset"].isin(datasets)], ["dataset", "backbone", "method"])
    frame = gain_table(shown, compared(headline, methods), labels)
    return Table(frame, [sample(shown), NOTE], left=4)
