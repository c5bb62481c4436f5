"""What is counted on a prepared data set, against a set worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.data import data, monthly, popularity
from scripts.analyse.statistics import statistics
from scripts.contracts import EXAMPLES, INTERACTIONS
from scripts.files import write_json, write_table
from tests.small_data import write_catalogue
from tests.tiny_study import as_read

DAY = 86_400


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    """Ann takes a, b, a, c and Bob b, a, one a day from 30 January 2018 on; histories keep two."""
    folder = tmp_path / "data" / "toy"
    rows = [("ann", "a"), ("ann", "b"), ("bob", "b"), ("ann", "a"), ("bob", "a"), ("ann", "c")]
    interactions = pd.DataFrame(rows, columns=["user", "item"]).assign(rating=1.0)
    first = int(pd.Timestamp("2018-01-30").timestamp())
    interactions["timestamp"] = [first + DAY * i for i in range(len(rows))]
    write_table(interactions, folder / "interactions.parquet", INTERACTIONS)
    write_catalogue(folder / "catalogue.parquet", ["A", "The B  side", "C minor"])
    histories = {1: [0], 3: [0, 1], 4: [1], 5: [1, 0]}
    examples = pd.DataFrame(
        {
            "example_id": range(4),
            "user": [rows[i][0] for i in histories],
            "history": list(histories.values()),
            "target": ["abc".index(rows[i][1]) for i in histories],
            "timestamp": interactions["timestamp"][list(histories)].to_numpy(),
        }
    )
    for split, part in {"train": [0, 1], "valid": [2], "test": [3]}.items():
        write_table(examples.iloc[part], folder / "examples" / f"{split}.parquet", EXAMPLES)
    write_json(
        {"users": 2, "splits": {"train": {"examples": 2}}, "first": ["x", "y"]},
        folder / "preparation.json",
    )
    return folder


def test_statistics_hold_the_records_and_the_lengths(tmp_path: Path, toy: Path) -> None:
    for dataset, most in (("toy", 7), ("other", 8)):
        write_json({"mean": 4.5, "max": most}, tmp_path / f"tokens/{dataset}/qwen2.5-1.5b.json")
    tokens = sorted((tmp_path / "tokens").rglob("*.json"))
    frame = as_read(statistics([toy / "preparation.json"], tokens))
    found = frame.set_index("statistic")["value"].to_dict()
    assert found == {
        "users": "2",
        "splits.train.examples": "2",
        "first": "x, y",
        # 1, 2, 1, 2 and, before the cut, 1, 2, 1, 3.
        **{"history_length.mean": "1.5", "history_length.median": "1.5"},
        **{"history_length.p95": "2", "history_length.max": "2"},
        **{"earlier_interactions.mean": "1.75", "earlier_interactions.median": "1.5"},
        **{"earlier_interactions.p95": "3", "earlier_interactions.max": "3"},
        # 1, 3 and 2 words.
        **{"title_words.mean": "2.0", "title_words.median": "2.0"},
        **{"title_words.p95": "3", "title_words.max": "3"},
        **{"title_tokens.qwen2.5-1.5b.mean": "4.5", "title_tokens.qwen2.5-1.5b.max": "7"},
    }
    assert set(frame["dataset"]) == {"toy"}


def test_curves(toy: Path) -> None:
    frame = as_read(data([toy / "preparation.json"]))
    points = {
        curve: list(zip(rows["x"], rows["y"].astype(float), strict=True))
        for curve, rows in frame.groupby("curve")
    }
    assert points == {
        "popularity": [("1", 3), ("2", 2), ("3", 1)],
        "history": [("1", 1), ("2", 0.5), ("3", 0.25)],
        "cut": [("2", 0.25)],
        "month": [("2018-01", pytest.approx(2 / 6)), ("2018-02", pytest.approx(4 / 6))],
        "valid": [("2018-02-03", 0.25)],
        "test": [("2018-02-04", 0.25)],
    }


def test_popularity_keeps_the_ends_of_every_plateau() -> None:
    counts = [9, 5, 5, 5, 5, 2, 2, 1]
    items = pd.Series(np.repeat([f"i{i}" for i in range(len(counts))], counts)).sample(
        frac=1, random_state=0
    )
    ranks, kept = popularity(items)
    assert ranks.tolist() == [1, 2, 5, 6, 7, 8]
    # The line through what is kept passes through what is left out.
    assert np.interp(range(1, 9), ranks, kept).tolist() == counts


def test_a_month_without_interactions_is_kept() -> None:
    times = [pd.Timestamp("2017-12-31 23:59:59"), pd.Timestamp("2018-02-01")]
    months, shares = monthly(pd.Series([int(time.timestamp()) for time in times]))
    assert months == ["2017-12", "2018-01", "2018-02"]
    assert shares.tolist() == [0.5, 0, 0.5]
