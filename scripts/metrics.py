"""HR@K and NDCG@K of the one relevant item of each example (docs/paper.md, section 3)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def hits(rank: np.ndarray, k: int) -> np.ndarray:
    """HR@K: 1 where the target is among the first K, else 0.

    Args:
        rank: float (n,), the target's rank from 1; NaN where it is not listed.
        k: the cut-off K.

    Returns:
        float64 (n,).
    """
    return np.where(rank <= k, 1.0, 0.0)


def gains(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG@K: ln 2 / ln(rank + 1) where the target is among the first K, else 0.

    The released code writes ln(rank + 2), as it counts ranks from 0.

    Args:
        rank: float (n,), the target's rank from 1; NaN where it is not listed.
        k: the cut-off K.

    Returns:
        float64 (n,).
    """
    return np.where(rank <= k, np.log(2) / np.log(rank + 1), 0.0)


def at_cutoffs(rank: np.ndarray, cutoffs: Iterable[int], depth: float) -> dict[str, np.ndarray]:
    """The columns hr@K and ndcg@K for every K.

    Args:
        rank: float (n,), the target's rank from 1; NaN where it is not listed.
        cutoffs: the values of K.
        depth: ranks up to it are known, infinity if all are; beyond it the columns are NaN.

    Returns:
        float64 (n,) by column name.
    """
    unknown = np.full(len(rank), np.nan)
    columns = {}
    for k in cutoffs:
        columns[f"hr@{k}"] = hits(rank, k) if k <= depth else unknown
        columns[f"ndcg@{k}"] = gains(rank, k) if k <= depth else unknown
    return columns
