"""Rows of tidy tables: in order, and their numbers in words."""

from __future__ import annotations

import pandas as pd

#: What stands for an unknown value.
UNKNOWN = "–"


def in_order(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort by `columns`, the values of each in the order in which they first appear."""
    ranks = {column: pd.factorize(frame[column], use_na_sentinel=False)[0] for column in columns}
    order = pd.DataFrame(ranks).sort_values(columns, kind="stable").index
    return frame.iloc[order].reset_index(drop=True)


def span(values: pd.Series) -> str:
    """The range of whole numbers: `100` or `100 to 1000`; `UNKNOWN` where there is none."""
    values = values.dropna()
    if values.empty:
        return UNKNOWN
    low, high = int(values.min()), int(values.max())
    return f"{low}" if low == high else f"{low} to {high}"


def listed(values: pd.Series) -> str:
    """The distinct values, such as seeds: `0, 1, 2`."""
    return ", ".join(map(str, sorted(values.unique())))


def plain_number(values: pd.Series) -> pd.Series:
    """Numbers as they were written, whole ones without decimals."""
    return values.astype(str).str.removesuffix(".0")
