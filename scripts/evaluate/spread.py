"""How lists spread over popularity and over the catalogue: shares, distances, concentration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scripts.data.rules import GROUPS

#: Columns of `spread`, then of `concentration`: measure and group.
SPREAD = [
    *(("share", g) for g in range(GROUPS)),
    ("total_variation", None),
    ("jensen_shannon", None),
]
CONCENTRATION = [("gini", None), ("coverage", None)]


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of the last axis' sum."""
    return counts / counts.sum(axis=-1, keepdims=True)


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Total variation distance of two distributions on the last axis: 0 equal, 1 disjoint."""
    return np.abs(first - second).sum(axis=-1) / 2


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon distance of two distributions on the last axis: 0 equal, 1 disjoint.

    The square root of the Jensen-Shannon divergence with logarithms to base 2 (Endres and
    Schindelin, 2003). scipy's gives NaN where rounding makes the divergence negative.
    """
    middle = (first + second) / 2
    divergence = _entropy(middle) - (_entropy(first) + _entropy(second)) / 2
    return np.sqrt(np.clip(divergence, 0, 1))


def _entropy(shares: np.ndarray) -> np.ndarray:
    """Entropy in bits over the last axis."""
    return -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(axis=-1)


def spread(counts: np.ndarray, history: np.ndarray) -> np.ndarray:
    """The measures of `SPREAD`.

    Args:
        counts: float (…, C, GROUPS), items of each group in the top K.
        history: float (…, GROUPS), items of each group in the histories.

    Returns:
        float64 (…, C, GROUPS + 2): the groups' shares, and the distances to the histories'.
    """
    ours, seen = shares(counts), shares(history)[..., None, :]
    distances = [total_variation(ours, seen), jensen_shannon(ours, seen)]
    return np.concatenate([ours, np.stack(distances, axis=-1)], axis=-1)


def gini(counts: np.ndarray) -> np.ndarray:
    """Gini index of counts on the last axis: 0 all equal, near 1 if one item has them all.

    Items with one count hold successive places in the order of the counts, so that it needs no
    sorting, only how many items have each count; up to the division all numbers are whole.

    Args:
        counts: int (…, items).

    Returns:
        float64 (…); NaN where all counts are 0.
    """
    *outer, size = counts.shape
    values = np.arange(counts.max() + 1)
    rows = counts.reshape(-1, size) + np.arange(np.prod(outer, dtype=int))[:, None] * len(values)
    items = np.bincount(rows.ravel(), minlength=len(rows) * len(values))
    items = items.reshape(*outer, len(values))
    # The weights 2 place - size - 1 of a count's items sum to items x (below + up to it - size).
    up_to = items.cumsum(axis=-1)
    total = counts.sum(axis=-1)
    weighted = (values * items * (2 * up_to - items - size)).sum(axis=-1)
    return weighted / (size * np.where(total > 0, total, np.nan))


def concentration(
    rows: np.ndarray, titles: np.ndarray, parts: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gini index and coverage of the titles in lists, of all lists and with each part left out.

    Args:
        rows: int (m,), the part of the users that an entry belongs to.
        titles: int (m,), its title.
        parts: number of parts J.
        size: number of titles in the catalogue.

    Returns:
        float64 (2,): the Gini index of the titles' counts, titles that are never listed included,
        and the share of the catalogue that is listed at all; and float64 (J, 2).
    """
    counts = np.bincount(rows * size + titles, minlength=parts * size).reshape(parts, size)
    total = counts.sum(axis=0)
    measured = [
        np.stack([gini(c), (c > 0).mean(axis=-1)], axis=-1) for c in (total, total - counts)
    ]
    return measured[0], measured[1]


def count_groups(groups: np.ndarray, cutoffs: Sequence[int]) -> np.ndarray:
    """How many of the first K items belong to each popularity group.

    Args:
        groups: int (n, depth), the popularity group of every listed item.
        cutoffs: the values of K, none above depth.

    Returns:
        float64 (n, C, GROUPS).
    """
    last = np.asarray(cutoffs) - 1
    counts = [(groups == g).cumsum(axis=1)[:, last] for g in range(GROUPS)]
    return np.stack(counts, axis=-1).astype(float)
