"""Prepared data sets, read as a whole, and what other programs call their rows."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

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


def named_examples(folder: Path, columns: list[str]) -> pd.DataFrame:
    """What `read_splits` gives, with `user`, `place`, that of the target among the user's
    interactions, from 1, and `example`, the name for other programs, such as `A2SUAM1J3GNN3B:7`."""
    examples = read_splits(folder, ["user", *columns])
    # A user's k-th example has the k + 1st interaction as target, and those before as history.
    place = examples.groupby("user", sort=False).cumcount() + 2
    return examples.assign(place=place, example=examples["user"] + ":" + place.astype(str))


def as_words(ids: pd.Series) -> pd.Series:
    """Ids for formats that part them by blanks: blanks and % in them are percent-encoded."""
    return ids.str.replace(r"[\s%]", lambda found: quote(found[0]), regex=True)


def earlier_interactions(users: pd.Series) -> np.ndarray:
    """How many interactions of the same user came before: the histories before they were cut.

    Args:
        users: user of every interaction, in time order.

    Returns:
        int64, one number per example: every interaction but each user's first, in time order.
    """
    earlier = users.groupby(users, sort=False).cumcount().to_numpy()
    return earlier[earlier > 0]


class Sequences(NamedTuple):
    """The users' training sequences, one after the other."""

    items: np.ndarray
    """int64 (total,), each user's items in time order."""
    starts: np.ndarray
    """int64 (users,), where each user's items begin."""
    lengths: np.ndarray
    """int64 (users,), at least 2."""


def training_sequences(train: pd.DataFrame) -> Sequences:
    """A user's sequence is the history of the first training example, then all targets."""
    train = train.sort_values(["user", "example_id"])
    first = ~train["user"].duplicated().to_numpy()
    parts = [
        np.append(history, target) if is_first else [target]
        for history, target, is_first in zip(train["history"], train["target"], first, strict=True)
    ]
    sizes = np.array([len(part) for part in parts])
    lengths = np.add.reduceat(sizes, np.flatnonzero(first))
    return Sequences(np.concatenate(parts).astype(np.int64), np.cumsum(lengths) - lengths, lengths)
