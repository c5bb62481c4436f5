from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.analyse.balance import balance, count_groups, distance
from scripts.analyse.blocks import FULL_TEST
from scripts.files import read_csv
from tests.tiny_study import baseline, catalogue, llm, recommendations, split


def test_shares_and_distance_by_hand(tmp_path: Path) -> None:
    items = catalogue(tmp_path, [0, 1, 2, 3, 4])
    test = split(tmp_path, [[0], [4, 4, 3]])
    model = recommendations(tmp_path, llm(), {0: [4, 4, 1], 1: [4, 3, 2]})
    hidden = recommendations(tmp_path, llm(history="without"), {0: [0, 0, 0], 1: [0, 0, 0]})
    balance([model, hidden], [items], [test], tmp_path / "out.csv", resamples=100)
    found = read_csv(tmp_path / "out.csv")
    assert list(found["k"].unique()) == [1, 3]
    top = found[found["k"] == 3]
    assert list(top["group"]) == [0, 1, 2, 3, 4]
    assert list(top["share"]) == pytest.approx([0, 1 / 6, 1 / 6, 1 / 6, 3 / 6])
    assert list(top["history_share"]) == pytest.approx([1 / 4, 0, 0, 1 / 4, 2 / 4])
    # Half the sum of |1/4|, |1/6|, |1/6|, |1/12|, 0.
    assert list(top["distance"].unique()) == pytest.approx([1 / 3])


def test_histories_are_those_of_the_block(tmp_path: Path) -> None:
    items = catalogue(tmp_path, [0, 1, 2, 3, 4])
    test = split(tmp_path, [[0], [4]])
    paths = [
        recommendations(tmp_path, llm(), {1: [4]}),
        recommendations(tmp_path, baseline("most-popular"), {0: [4], 1: [4]}),
    ]
    balance(paths, [items], [test], tmp_path / "out.csv", resamples=20)
    found = read_csv(tmp_path / "out.csv").drop_duplicates(["block", "recommender"])
    distances = found.set_index(["block", "recommender"])["distance"]
    assert distances["tiny", "tiny"] == distances["tiny", "baselines"] == 0
    assert distances[FULL_TEST, "baselines"] == 0.5


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1))
def test_counts_equal_a_loop(pairs: list[tuple[int, int]]) -> None:
    expected = np.zeros((4, 5), int)
    for row, group in pairs:
        expected[row, group] += 1
    rows, groups = np.array(pairs).T
    assert (count_groups(rows, groups, 4) == expected).all()


def test_distance_of_disjoint_and_equal() -> None:
    assert distance(np.array([1.0, 0]), np.array([0, 1.0])) == 1
    assert distance(np.array([0.5, 0.5]), np.array([0.5, 0.5])) == 0
