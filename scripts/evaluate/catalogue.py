"""The catalogue by title: items with the same title are one thing to recommend."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scripts.baselines.lists import standing_items
from scripts.command import InputError
from scripts.contracts import CATALOGUE
from scripts.files import read_table


class Catalogue(NamedTuple):
    """The distinct titles of a data set, numbered in the order of their lowest `item_id`."""

    title_of: np.ndarray
    """int64 (items,), the title of every `item_id`."""
    group: np.ndarray
    """int64 (titles,), popularity group of the item that stands for the title."""
    train_count: np.ndarray
    """int64 (titles,), training targets of that item."""


def folder_of(dataset: str, datasets: list[Path]) -> Path:
    """Folder of a prepared data set, among those whose `preparation.json` are at hand.

    Raises:
        InputError: it is not among them.
    """
    folders = {path.parent.name: path.parent for path in datasets}
    if dataset not in folders:
        raise InputError(f"datasets: give the preparation.json of {dataset}, too")
    return folders[dataset]


def read_catalogue(dataset: Path) -> Catalogue:
    """The titles of a prepared data set, each with the popularity of the item that stands for it.

    Lists and histories are both counted by title, so that it does not matter which of the items
    with one title a recommender happens to list.
    """
    file = dataset / "catalogue.parquet"
    frame = read_table(file, CATALOGUE, ["item_id", "title", "train_count", "popularity_group"])
    frame = frame.sort_values("item_id", ignore_index=True)
    title_of = pd.factorize(frame["title"])[0].astype(np.int64)
    stand_ins = frame.iloc[pd.unique(standing_items(frame))]
    return Catalogue(
        title_of,
        stand_ins["popularity_group"].to_numpy(np.int64),
        stand_ins["train_count"].to_numpy(np.int64),
    )
