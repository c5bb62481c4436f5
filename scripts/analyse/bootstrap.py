"""Paired bootstrap over users: the examples of one user are not independent."""

from __future__ import annotations

import numpy as np

#: Random draws held in memory at once (resamples x users).
BLOCK = 1 << 22


def cluster_bootstrap(
    values: np.ndarray, users: np.ndarray, resamples: int = 2000, seed: int = 0
) -> np.ndarray:
    """Means over examples when whole users are drawn with replacement.

    All columns see the same draws, so that differences of columns are paired.

    Args:
        values: float (n, m), m measurements of every example, without NaN.
        users: (n,), whose example it is.
        resamples: number of bootstrap resamples.
        seed: seed of the draws.

    Returns:
        float64 (resamples, m).

    Raises:
        ValueError: a value is NaN or there is none.
    """
    if len(values) == 0 or np.isnan(values).any():
        raise ValueError("the bootstrap needs at least one example and no NaN")
    names, user = np.unique(users, return_inverse=True)
    # Per user: the sums of the columns and, last, the number of examples.
    totals = np.zeros((len(names), values.shape[1] + 1))
    np.add.at(totals, user, np.column_stack([values, np.ones(len(values))]))
    rng = np.random.default_rng(seed)
    rows = max(1, BLOCK // len(names))
    means = []
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(len(names), size=(size, len(names)))
        drawn += np.arange(size)[:, None] * len(names)
        counts = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape)
        sums = counts @ totals
        means.append(sums[:, :-1] / sums[:, -1:])
    return np.concatenate(means)


def interval(samples: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval over the first axis.

    Args:
        samples: float (resamples, …), as of `cluster_bootstrap` or a function of its columns.
        level: share of the resamples inside.

    Returns:
        lower and upper bound, float64 (…).
    """
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high
