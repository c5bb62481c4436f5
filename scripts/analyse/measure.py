"""Means of per-example metrics with intervals over users."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scripts.analyse.blocks import codes, identity
from scripts.analyse.bootstrap import cluster_bootstrap, interval
from scripts.cells import Cell
from scripts.contracts import CUTOFFS

#: The metric columns of a per-example file.
METRICS = [f"{metric}@{k}" for metric in ("hr", "ndcg") for k in CUTOFFS]


def split_name(column: str) -> dict[str, str | int]:
    """`hr@10` as the columns `metric` and `k` of a tidy table."""
    metric, k = column.split("@")
    return {"metric": metric, "k": int(k)}


def measured(
    frames: dict[Cell, pd.DataFrame], block: str, resamples: int, seed: int
) -> pd.DataFrame:
    """Mean and 95 % interval of every metric of every cell of one block.

    All cells see the same draws of users. A metric that is null for an example (K beyond the
    list) has neither value nor interval.

    Args:
        frames: per cell the column `user` and `METRICS`, on the same examples in the same order.
        block: name of the block.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        the columns of `identity`, metric, k, value, low, high, examples, users.
    """
    values = np.column_stack([frame[METRICS].to_numpy(float) for frame in frames.values()])
    users = codes(next(iter(frames.values()))["user"])
    known = ~np.isnan(values).any(axis=0)
    low, high = np.full((2, values.shape[1]), np.nan)
    if known.any():
        low[known], high[known] = interval(
            cluster_bootstrap(values[:, known], users, resamples, seed)
        )
    mean = np.where(known, values.mean(axis=0), np.nan)
    names = [identity(cell, block) | split_name(column) for cell in frames for column in METRICS]
    return pd.DataFrame(names).assign(
        value=mean, low=low, high=high, examples=len(users), users=users.max() + 1
    )
