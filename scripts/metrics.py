"""HR@K and NDCG@K of the one relevant item of each example (docs/paper.md, section 3).

`rank` is the target's from 1, float (n,), NaN where it is not listed; results are float64 (n,).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def hits(rank: np.ndarray, k: int) -> np.ndarray:
    """HR@K: 1 where the target is among the first K, else 0."""
    return np.where(rank <= k, 1.0, 0.0)


def gains(rank: np.ndarray, k: int) -> np.ndarray:
    """NDCG@K: ln 2 / ln(rank + 1) where the target is among the first K, else 0.

    The released code writes ln(rank + 2), as it counts ranks from 0.
    """
    return np.where(rank <= k, np.log(2) / np.log(rank + 1), 0.0)


def at_cutoffs(rank: np.ndarray, cutoffs: Iterable[int], depth: float) -> dict[str, np.ndarray]:
    """The columns hr@K and ndcg@K for every K, by their names; NaN for a K beyond `depth`, up to
    which ranks are known (infinity if all are)."""
    unknown = np.full(len(rank), np.nan)
    columns = {}
    for k in cutoffs:
        columns[f"hr@{k}"] = hits(rank, k) if k <= depth else unknown
        columns[f"ndcg@{k}"] = gains(rank, k) if k <= depth else unknown
    return columns
