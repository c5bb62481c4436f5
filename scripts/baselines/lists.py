"""Ranked lists from scores, the same for every recommender of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import progress
from scripts.contracts import RECOMMENDATIONS
from scripts.files import write_table

#: Scores held in memory at once (examples x items).
BLOCK = 1 << 22


def top(scores: np.ndarray, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The best items of each row, best first; of equal scores the lower item_id comes first.

    Args:
        scores: float (n, items), finite; compared in float32, as they are stored.
        depth: length of the lists; at most all items are listed.

    Returns:
        item ids, int64, and their scores, float32; both (n, min(depth, items)).
    """
    scores = scores.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    items = scores.shape[1]
    # One integer per score that sorts like (score, -item_id): the bits of a float sort like the
    # float once those below the sign of a negative one are flipped. No two are equal, so that a
    # partial sort is exact.
    bits = scores.view(np.int32)
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)
    keys = (bits << 32) | np.arange(items - 1, -1, -1)
    if depth < items:
        keys = np.partition(keys, items - depth, axis=1)[:, items - depth :]
    ids = items - 1 - (np.sort(keys, axis=1)[:, ::-1] & 0xFFFFFFFF)
    return ids, np.take_along_axis(scores, ids, axis=1)


def rank_in_blocks(
    score: Callable[[slice], np.ndarray], examples: int, items: int, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """`top` of many examples, a block of rows at a time.

    Args:
        score: gives the scores, float (rows, items), of a slice of the examples.
        examples: number of examples.
        items: number of items.
        depth: length of the lists.
    """
    rows = max(1, BLOCK // items)
    starts = range(0, examples, rows)
    blocks = [
        top(score(slice(start, start + rows)), depth) for start in progress(starts, "ranking")
    ]
    ids, scores = zip(*blocks, strict=True)
    return np.concatenate(ids), np.concatenate(scores)


def write_lists(example_id: np.ndarray, ids: np.ndarray, scores: np.ndarray, output: Path) -> None:
    """Write RECOMMENDATIONS.

    Args:
        example_id: int (n,), ascending.
        ids: int (n, depth), the items of each example, best first.
        scores: float (n, depth).
        output: Parquet file to write.
    """
    examples, depth = ids.shape
    frame = pd.DataFrame(
        {
            "example_id": np.repeat(example_id, depth),
            "rank": np.tile(np.arange(1, depth + 1), examples),
            "item_id": ids.ravel(),
            "score": scores.ravel(),
        }
    )
    write_table(frame, output, RECOMMENDATIONS)
