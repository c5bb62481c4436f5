"""Rows of tidy tables, put in order."""

from __future__ import annotations

import pandas as pd

#: Stands where a recommender does: the rows of the users' own histories.
OWN_HISTORIES = "histories"


def in_order(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort by `columns`, the values of each in the order in which they first appear."""
    ranks = {column: pd.factorize(frame[column], use_na_sentinel=False)[0] for column in columns}
    order = pd.DataFrame(ranks).sort_values(columns, kind="stable").index
    return frame.iloc[order].reset_index(drop=True)
