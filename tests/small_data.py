"""Small data sets in the files' contracts."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scripts.contracts import CATALOGUE, EXAMPLES, RECOMMENDATIONS, SPLITS
from scripts.data.raw import unpacked, users_of
from scripts.data.settings import Amazon
from scripts.files import read_json, read_table, write_json, write_table

#: Whatever lies in its two files.
AMAZON = Amazon(kind="amazon-2018", reviews="reviews", metadata="metadata")


def change_json(path: Path, **keys: Any) -> None:
    write_json(read_json(path) | keys, path)


def raw_files(folder: Path, ending: str = ".json.gz") -> dict[str, Path]:
    """The two files of a source as the preparation takes them."""
    return {"reviews": folder / f"reviews{ending}", "metadata": folder / f"meta{ending}"}


def zipped(members: dict[str, bytes | str]) -> bytes:
    """A zip file of these members."""
    with zipfile.ZipFile(packed := io.BytesIO(), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


def read_splits(folder: Path) -> list[pd.DataFrame]:
    """The examples of a prepared data set: train, valid, test."""
    return [read_table(folder / "examples" / f"{split}.parquet", EXAMPLES) for split in SPLITS]


def write_catalogue(
    path: Path, titles: list[str], counts: list[int] | int = 0, groups: list[int] | int = 0
) -> Path:
    n = len(titles)
    frame = pd.DataFrame({"item_id": range(n), "item": [f"i{i}" for i in range(n)]})
    frame = frame.assign(title=titles, train_count=counts, popularity_group=groups)
    write_table(frame, path, CATALOGUE)
    return path


def write_examples(path: Path, rows: list[tuple[str, list[int], int]], first: int = 0) -> Path:
    """Write (user, history, target) rows as examples numbered from `first`."""
    frame = pd.DataFrame(rows, columns=["user", "history", "target"])
    frame["example_id"] = frame["timestamp"] = range(first, first + len(rows))
    write_table(frame, path, EXAMPLES)
    return path


def write_recommendations(path: Path, rows: list[tuple[int, int, int]]) -> Path:
    """Write (example_id, rank, item_id) rows."""
    frame = pd.DataFrame(rows, columns=["example_id", "rank", "item_id"]).assign(score=0.0)
    write_table(frame, path, RECOMMENDATIONS)
    return path


def lists_of(path: Path) -> dict[int, list[int]]:
    """The listed items of every example, and a check that ranks are 1..n in order."""
    frame = pd.read_parquet(path)
    for _, group in frame.groupby("example_id"):
        assert group["rank"].to_list() == list(range(1, len(group) + 1))
        assert group["score"].is_monotonic_decreasing
    return frame.groupby("example_id")["item_id"].apply(list).to_dict()


def with_ids(raw):
    """Reviews with source ids, and titles by source id, of `RawData`."""
    _, items, _, item, rating, timestamp, _ = raw.reviews
    users, user = users_of(raw.reviews, np.arange(len(item)))
    rows = [
        (users[u], items[i], None if np.isnan(r) else r, t)
        for u, i, r, t in zip(user, item, rating, timestamp.tolist(), strict=True)
    ]
    return rows, [(items[code], title) for code, title in unpacked(list(raw.titles))]
