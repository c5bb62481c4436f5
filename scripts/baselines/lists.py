"""Ranked lists from scores, the same for every recommender of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scripts.command import progress
from scripts.contracts import RECOMMENDATIONS
from scripts.files import write_table

#: Scores held in memory at once (examples x items).
BLOCK = 1 << 22


class Titles(NamedTuple):
    """Which items share a title, and which of them stands for it in a list."""

    order: np.ndarray
    """int64 (items,), the items with those of one title side by side."""
    starts: np.ndarray
    """int64 (titles,), where each title begins in `order`."""
    items: np.ndarray
    """int64 (titles,), ascending: the item that stands for each title."""


def standing_items(catalogue: pd.DataFrame) -> np.ndarray:
    """The item that stands for the title of each, int64 (items,), from the columns item_id (0, 1,
    2, …), title and train_count.

    As in the decoders of language models, it is the one with the most training targets, of equal
    counts the one with the lower item_id.
    """
    best_first = catalogue.sort_values(["train_count", "item_id"], ascending=[False, True])
    standing = best_first.drop_duplicates("title").set_index("title")["item_id"]
    return catalogue["title"].map(standing).to_numpy(np.int64)


def titles_of(catalogue: pd.DataFrame) -> Titles:
    """The titles of a catalogue as of `standing_items`, equal ones being one, as the metrics count
    them."""
    stands_for = standing_items(catalogue)
    order = np.argsort(stands_for, kind="stable")
    items, starts = np.unique(stands_for[order], return_index=True)
    return Titles(order, starts, items)


def top(scores: np.ndarray, titles: Titles, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """The best titles of each row, best first; of equal scores the lower item_id comes first.

    A title scores as its best item does.

    Args:
        scores: float (n, items), finite; compared in float32, as they are stored.
        titles: of the same items.
        depth: length of the lists; at most all titles are listed.

    Returns:
        ids of the items that stand for the titles, int64, and the titles' scores, float32; both
        (n, min(depth, titles)).
    """
    scores = scores.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    if len(titles.items) < scores.shape[1]:
        scores = np.maximum.reduceat(scores[:, titles.order], titles.starts, axis=1)
    count = scores.shape[1]
    # One integer per score that sorts like (score, -position): the bits of a float sort like the
    # float once those below the sign of a negative one are flipped. No two are equal, so that a
    # partial sort is exact.
    bits = scores.view(np.int32)
    bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits).astype(np.int64)
    keys = (bits << 32) | np.arange(count - 1, -1, -1)
    if depth < count:
        keys = np.partition(keys, count - depth, axis=1)[:, count - depth :]
    positions = count - 1 - (np.sort(keys, axis=1)[:, ::-1] & 0xFFFFFFFF)
    return titles.items[positions], np.take_along_axis(scores, positions, axis=1)


def rank_in_blocks(
    score: Callable[[slice], np.ndarray], examples: int, catalogue: pd.DataFrame, depth: int
) -> tuple[np.ndarray, np.ndarray]:
    """`top` of many examples, a block of rows at a time; `score` gives the scores, float (rows,
    items), of a slice of the examples."""
    titles = titles_of(catalogue)
    rows = max(1, BLOCK // len(catalogue))
    starts = range(0, examples, rows)
    blocks = [
        top(score(slice(start, start + rows)), titles, depth)
        for start in progress(starts, "ranking")
    ]
    ids, scores = zip(*blocks, strict=True)
    return np.concatenate(ids), np.concatenate(scores)


def write_lists(example_id: np.ndarray, ids: np.ndarray, scores: np.ndarray, output: Path) -> None:
    """Write RECOMMENDATIONS of the examples, int (n,), ascending: the items of each, int (n,
    depth), best first, and their scores, float (n, depth)."""
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
