"""What the statistics and the curves of a prepared data set have in common."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.contracts import EXAMPLES, SPLITS
from scripts.files import read_table


def read_examples(folder: Path, columns: list[str]) -> pd.DataFrame:
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


def summary(lengths: Sequence[int] | np.ndarray | pd.Series) -> dict[str, float]:
    """Mean, median, 95th percentile (the least length that 95 % do not exceed) and maximum."""
    values = np.asarray(lengths)
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p95": int(np.quantile(values, 0.95, method="inverted_cdf")),
        "max": int(values.max()),
    }
