from __future__ import annotations

import ast
from pathlib import Path

import pandas as pd
import pytest

from scripts.baselines.most_popular import recommend
from scripts.evaluate.per_example import evaluate
from tests.small_data import lists_of, write_catalogue, write_examples

DATA = Path(__file__).parents[2] / "shared" / "data"


def test_counts_training_targets_and_breaks_ties_by_item(tmp_path: Path) -> None:
    items = write_catalogue(tmp_path / "items", list("abcd"))
    train = write_examples(
        tmp_path / "train", [("u", [0], 3), ("u", [0, 3], 2), ("v", [0], 3), ("v", [0, 3], 1)]
    )
    test = write_examples(tmp_path / "test", [("u", [3], 0), ("v", [3], 0)], first=7)
    recommend(train, test, items, tmp_path / "lists", depth=3)
    assert lists_of(tmp_path / "lists") == {7: [3, 1, 2], 8: [3, 1, 2]}


@pytest.mark.parametrize(
    ("name", "expected"), [("movies_tv_2017", 0.063), ("video_games_2015", 0.026)]
)
def test_published_split(tmp_path: Path, name: str, expected: float) -> None:
    """HR@10 over the whole test split, as computed independently with the published files."""
    folder = DATA / name / "d3"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    splits, first, paths = {}, 0, {}
    for split in ("train", "test"):
        frame = pd.read_csv(
            folder / f"{split}.csv.gz", usecols=["user_id", "history_item_id", "item_id"]
        )
        frame["history_item_id"] = frame["history_item_id"].map(ast.literal_eval)
        rows = frame[["user_id", "history_item_id", "item_id"]].itertuples(index=False, name=None)
        paths[split] = write_examples(tmp_path / split, list(rows), first)
        first += len(frame)
        splits[split] = frame
    size = 1 + max(int(frame["history_item_id"].explode().max()) for frame in splits.values())
    size = max(size, *(1 + int(frame["item_id"].max()) for frame in splits.values()))
    items = write_catalogue(tmp_path / "items", [str(i) for i in range(size)])
    recommend(paths["train"], paths["test"], items, tmp_path / "lists")
    evaluate([tmp_path / "lists"], paths["test"], items, [tmp_path / "metrics"])
    assert pd.read_parquet(tmp_path / "metrics")["hr@10"].mean() == pytest.approx(
        expected, abs=5e-4
    )
