"""Popularity, history length and interactions over time of the prepared data sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.contracts import INTERACTIONS
from scripts.data.prepared import earlier_interactions, read_splits
from scripts.files import read_table


def popularity(items: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Interactions per item over the item's rank, from 1 for the most popular, from the item of
    every interaction: ranks and counts, int64 (p,) each.

    Of the items with equally many interactions only the first and the last rank are given: the
    line through the points is the same.
    """
    counts = np.sort(items.value_counts().to_numpy())[::-1]
    changes = np.flatnonzero(np.diff(counts))
    ends = np.union1d([0, len(counts) - 1], np.concatenate([changes, changes + 1])).astype(int)
    return ends + 1, counts[ends]


def at_least(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every length that occurs, int64 (p,), and the share of lengths at least as long, (p,)."""
    values, counts = np.unique(lengths, return_counts=True)
    return values, counts[::-1].cumsum()[::-1] / len(lengths)


def monthly(timestamps: pd.Series) -> tuple[list[str], np.ndarray]:
    """Every month (UTC) from the first interaction to the last, and its share of them, (p,)."""
    months = pd.to_datetime(timestamps, unit="s").dt.to_period("M")
    every = pd.period_range(months.min(), months.max(), freq="M")
    shares = months.value_counts(normalize=True).reindex(every, fill_value=0)
    return [str(month) for month in every], shares.to_numpy()


def data(datasets: list[Path]) -> pd.DataFrame:
    """Gather the curves of every data set.

    The curves are `popularity` (interactions over the item's rank), `history` (share of examples
    over the least number of the user's earlier interactions), `cut` (the longest history that
    examples keep, where any is cut, and the share that is), `month` (share of interactions) and
    `valid` and `test` (day of the split's first target, UTC, and its share of the examples).

    Args:
        datasets: `preparation.json` in the folder of every data set.

    Returns:
        dataset, curve, x, y.
    """
    parts = []
    for folder in [path.parent for path in datasets]:
        interactions = read_table(
            folder / "interactions.parquet", INTERACTIONS, ["user", "item", "timestamp"]
        )
        examples = read_splits(folder, ["history", "timestamp"])
        earlier = earlier_interactions(interactions["user"])
        longest = examples["history"].map(len).max()
        curves = {
            "popularity": popularity(interactions["item"]),
            "history": at_least(earlier),
            "month": monthly(interactions["timestamp"]),
        }
        if longest < earlier.max():
            curves["cut"] = ([longest], [np.mean(earlier > longest)])
        for split in ("valid", "test"):
            times = examples.loc[examples["split"] == split, "timestamp"]
            day = f"{pd.Timestamp(times.min(), unit='s'):%Y-%m-%d}"
            curves[split] = ([day], [len(times) / len(examples)])
        parts += [
            pd.DataFrame({"dataset": folder.name, "curve": curve, "x": x, "y": y}, dtype=object)
            for curve, (x, y) in curves.items()
        ]
    return pd.concat(parts)
