"""Prepared data sets, read as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.contracts import EXAMPLES, SPLITS
from scripts.files import read_table


def read_splits(folder: Path, columns: list[str]) -> pd.DataFrame:
    """Columns of all examples of a data set in time order, with their `split`."""
    splits = [
        read_table(folder / "examples" / f"{split}.parquet", EXAMPLES, columns).assign(split=split)
        for split in SPLITS
    ]
    return pd.concat(splits, ignore_index=True)


def earlier_interactions(users: pd.Series) -> np.ndarray:
    """How many interactions of the same user came before: the histories before they were cut.

    Args:
        users: user of every interaction, in time order.

    Returns:
        int64, one number per example: every interaction but each user's first, in time order.
    """
    earlier = users.groupby(users, sort=False).cumcount().to_numpy()
    return earlier[earlier > 0]
