"""Histories cut at another length: the files of a whole preparation with that length."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.data.prepare import prepare
from scripts.data.recut import recut
from scripts.data.settings import Preparation
from scripts.files import write_text
from tests.generate_amazon import generate
from tests.small_data import AMAZON, raw_files, read_splits, write_examples

SETTINGS = Preparation(start=None, end=None, minimum_items=0, max_history=4)


def test_by_hand(tmp_path: Path) -> None:
    """Users a: 7 5 6 5 8, b: 9 6 7, their examples shuffled in time."""
    folder = tmp_path / "short" / "examples"
    train = [("a", [7], 5), ("b", [9], 6), ("a", [5], 6), ("a", [6], 5)]
    write_examples(folder / "train.parquet", train)
    write_examples(folder / "valid.parquet", [("b", [6], 7)], first=4)
    write_examples(folder / "test.parquet", [("a", [5], 8)], first=5)
    write_text("catalogue", tmp_path / "short" / "catalogue.parquet")
    recut(tmp_path / "short", 3, tmp_path / "long")
    frames = read_splits(tmp_path / "long")
    histories = [[list(history) for history in frame["history"]] for frame in frames]
    assert histories == [[[7], [9], [7, 5], [7, 5, 6]], [[9, 6]], [[5, 6, 5]]]
    assert pd.concat(frames)["example_id"].tolist() == [0, 1, 2, 3, 4, 5]
    assert (tmp_path / "long" / "catalogue.parquet").read_text() == "catalogue"


def test_equals_a_whole_preparation(tmp_path: Path) -> None:
    generate(tmp_path, users=60, items=30, seed=1, reviews=25)
    files = raw_files(tmp_path)
    prepare(AMAZON, files, SETTINGS, tmp_path / "base")
    for length in (1, 3, 12, 1000):
        whole, cut = tmp_path / f"whole-{length}", tmp_path / f"cut-{length}"
        prepare(AMAZON, files, SETTINGS.model_copy(update={"max_history": length}), whole)
        recut(tmp_path / "base", length, cut)
        written = [path for path in cut.rglob("*") if path.is_file()]
        assert len(written) == 4
        for path in written:
            assert path.read_bytes() == (whole / path.relative_to(cut)).read_bytes(), path
        longest = max(map(len, read_splits(cut)[2]["history"]))
        assert longest == length or (length == 1000 and longest > 12)
