from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.analyse.strata import LEAST_DIFFERING, by_activity, by_popularity, compare, strata
from scripts.command import InputError
from scripts.evaluate.bootstrap import Draws
from tests.small_data import write_catalogue, write_examples
from tests.tiny_study import llm, metrics, prepared


def test_activity_by_hand() -> None:
    # Eight examples make four strata of two, but the three of 5 stay together.
    found = by_activity(np.array([9, 1, 5, 5, 2, 5, 30, 31]))
    assert list(found) == ["1–2", "5", "9", "30–31"]
    assert found["5"].tolist() == [False, False, True, True, False, True, False, False]
    assert list(by_activity(np.array([7, 7, 7]))) == ["7"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_strata_part_the_examples_in_order(activity: list[int]) -> None:
    values = np.array(activity)
    found = by_activity(values)
    assert (np.sum(list(found.values()), axis=0) == 1).all()
    tops = [values[members].max() for members in found.values()]
    bottoms = [values[members].min() for members in found.values()]
    assert all(top < bottom for top, bottom in zip(tops, bottoms[1:], strict=False))
    if len(set(activity)) == len(activity) >= 4:
        sizes = [members.sum() for members in found.values()]
        assert max(sizes) - min(sizes) <= 1


def test_cold_targets_stand_apart() -> None:
    found = by_popularity(np.array([0, 0, 4, 2]), np.array([0, 1, 9, 3]))
    assert {name: members.tolist() for name, members in found.items()} == {
        "cold": [True, False, False, False],
        "0": [False, True, False, False],
        "2": [False, False, False, True],
        "4": [False, False, True, False],
    }


def test_interval_only_where_enough_users_differ() -> None:
    users = np.repeat(np.arange(30), 2)
    base = np.zeros((1, 60, 2))
    ours = base.copy()
    ours[0, : 2 * LEAST_DIFFERING, 0] = 1
    ours[0, : 2 * LEAST_DIFFERING - 2, 1] = 1
    found = compare(ours, base, users, Draws(resamples=100))
    assert found["differing"].tolist() == [LEAST_DIFFERING, LEAST_DIFFERING - 1]
    assert found["low"].notna().tolist() == found["high"].notna().tolist() == [True, False]
    assert found["difference"].tolist() == pytest.approx([1 / 3, 18 / 60])
    assert found["users"].tolist() == [30, 30]


@pytest.fixture
def datasets(tmp_path: Path) -> list[Path]:
    """Users ann, ann, bob, cid in the test split, with 1, 2, 3 and 5 earlier interactions."""
    path = tmp_path / "data/toy/catalogue.parquet"
    write_catalogue(path, ["Heat", "Dune", "Big"], [0, 4, 9], [0, 3, 4])
    folder = tmp_path / "data/toy/examples"
    earlier = [("bob", [0], 1)] * 2 + [("cid", [0], 1)] * 3 + [("dan", [0], 1)] * 2
    test = [("ann", [0], 0), ("ann", [0], 2), ("bob", [0], 2), ("cid", [0], 1)]
    write_examples(folder / "train.parquet", earlier, first=0)
    write_examples(folder / "valid.parquet", [("cid", [0], 1)], first=7)
    write_examples(folder / "test.parquet", test, first=8)
    return prepared(tmp_path)


def test_differences_per_stratum_by_hand(tmp_path: Path, datasets: list[Path]) -> None:
    # Examples 10 and 11, of bob and cid, are this backbone's sub-sample.
    cells = {llm("plain"): [2, None], llm("cft"): [1, 3], llm("cft", history="without"): [1, 1]}
    paths = [metrics(tmp_path, cell, ranks, depth=3, first=10) for cell, ranks in cells.items()]
    found = strata(paths, datasets, Draws(resamples=20))
    assert set(found["k"]) == {1, 3}
    one = found.query("metric == 'hr' and k == 1").set_index(["by", "stratum"])["difference"]
    assert one.to_dict() == {
        ("activity", "3"): 1,
        ("activity", "5"): 0,
        ("popularity", "3"): 0,
        ("popularity", "4"): 1,
    }
    three = found.query("metric == 'ndcg' and k == 3").set_index("stratum")
    assert three.loc["4", "base_value"] == pytest.approx(1 / np.log2(3), abs=1e-6)
    assert three.loc["5", "difference"] == 0.5
    assert found["low"].isna().all()
    assert set(found["objective"]) == {"cft"}


def test_a_missing_data_set_is_named(tmp_path: Path) -> None:
    paths = [metrics(tmp_path, llm(name), [1]) for name in ("plain", "cft")]
    with pytest.raises(InputError, match=r"give the preparation\.json of toy"):
        strata(paths, [tmp_path / "data/other/preparation.json"])
