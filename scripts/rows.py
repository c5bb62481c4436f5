"""Rows of tidy tables: averaged over seeds, and put in order."""

from __future__ import annotations

import pandas as pd


def over_seeds(frame: pd.DataFrame, measures: list[str], spread: str) -> pd.DataFrame:
    """Average over the seeds.

    Args:
        frame: a tidy table with the column `seed`; every column that is no measure names a row.
        measures: the columns to average; the bounds of intervals are averaged like the values.
        spread: the measure whose standard deviation (n - 1) over seeds is wanted.

    Returns:
        one row per combination of the other columns in order of appearance, with the averages,
        `sd` (null for one seed) and `seeds`, their number.
    """
    names = [column for column in frame.columns if column not in {"seed", *measures}]
    groups = frame.groupby(names, sort=False, dropna=False)
    summary = groups[measures].mean()
    summary["sd"] = groups[spread].std(ddof=1)
    summary["seeds"] = groups["seed"].nunique()
    return summary.reset_index()


def in_order(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Sort by `columns`, the values of each in the order in which they first appear."""
    ranks = {column: pd.factorize(frame[column], use_na_sentinel=False)[0] for column in columns}
    order = pd.DataFrame(ranks).sort_values(columns, kind="stable").index
    return frame.iloc[order].reset_index(drop=True)
