from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import jensenshannon

from scripts.analyse.balance import balance
from scripts.evaluate.blocks import FULL_TEST
from scripts.evaluate.bootstrap import Draws, cluster_bootstrap, interval, jackknife_error
from scripts.evaluate.catalogue import read_catalogue
from scripts.evaluate.spread import (
    concentration,
    count_groups,
    gini,
    jensen_shannon,
    total_variation,
)
from tests.small_data import write_catalogue
from tests.tiny_study import as_read, baseline, catalogue, llm, prepared, recommendations, split


def value(found: pd.DataFrame, measure: str) -> float:
    """The one value of a measure."""
    return found.loc[found["measure"] == measure, "value"].item()


def test_shares_and_distances_by_hand(tmp_path: Path) -> None:
    catalogue(tmp_path, [0, 1, 2, 3, 4])
    split(tmp_path, [[0], [4, 4, 3]])
    model = recommendations(tmp_path, llm(), {0: [4, 3, 1], 1: [4, 0, 2]})
    hidden = recommendations(tmp_path, llm(history="without"), {0: [0, 1, 2], 1: [0, 1, 2]})
    found = as_read(balance([model, hidden], prepared(tmp_path), k=3, draws=Draws(resamples=100)))
    seen = found[(found["baseline"] == "") & (found["objective"] == "")]
    assert list(seen["measure"]) == ["share"] * 5 + ["gini", "coverage"]
    assert list(seen["value"][:5]) == pytest.approx([1 / 4, 0, 0, 1 / 4, 2 / 4])
    assert value(seen, "coverage") == pytest.approx(3 / 5)
    assert list(found["k"].dropna().unique()) == [1, 3]
    top = found[found["k"] == 3]
    assert list(top["group"][:5]) == [0, 1, 2, 3, 4]
    assert list(top["value"][:5]) == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 6, 2 / 6])
    # Half the sum of |1/12|, |1/6|, |1/6|, |1/12|, |1/6|.
    assert value(top, "total_variation") == pytest.approx(1 / 3)
    assert value(top, "coverage") == 1
    # Counts 1, 1, 1, 1, 2: (-4 - 2 + 0 + 2 + 2 x 4) / (5 x 6).
    assert value(top, "gini") == pytest.approx(4 / 30)
    assert value(found[found["k"] == 1], "coverage") == pytest.approx(1 / 5)


def test_histories_are_those_of_the_block(tmp_path: Path) -> None:
    catalogue(tmp_path, [0, 1, 2, 3, 4])
    split(tmp_path, [[0], [4]])
    paths = [
        recommendations(tmp_path, llm(), {1: [4]}),
        recommendations(tmp_path, baseline("most-popular"), {0: [4], 1: [4]}),
    ]
    found = as_read(balance(paths, prepared(tmp_path), k=1, draws=Draws(resamples=20)))
    found = found.query("measure == 'total_variation'")
    distances = found.set_index(["block", "baseline"])["value"]
    assert distances["tiny", ""] == distances["tiny", "most-popular"] == 0
    assert distances[FULL_TEST, "most-popular"] == 0.5


def test_difference_to_the_base_on_common_seeds(tmp_path: Path) -> None:
    catalogue(tmp_path, [0, 1, 2, 3, 4])
    split(tmp_path, [[4], [4], [4], [4]])
    rare, frequent = ({example: [item] for example in range(4)} for item in (0, 4))
    paths = [
        recommendations(tmp_path, llm("plain", 0), rare),
        recommendations(tmp_path, llm("cft", 0), frequent),
        recommendations(tmp_path, llm("cft", 1), rare),  # plain has no such seed
    ]
    found = balance(paths, prepared(tmp_path), k=1, draws=Draws(resamples=200))
    found = found.query("measure == 'total_variation'")
    rows = found.set_index("objective")
    # 0 with the one seed and 1 with the other.
    assert rows.loc["cft", "value"] == 0.5
    assert rows.loc["cft", "seed_sd"] == pytest.approx(np.sqrt(0.5))
    assert rows.loc["cft", ["difference", "difference_low", "difference_high"]].tolist() == [-1] * 3
    assert rows.loc["cft", "p"] == pytest.approx(2 / 201)
    assert rows.loc["cft", "base"] == "plain"
    assert rows.loc["cft", ["seeds", "shared_seeds"]].tolist() == [2, 1]
    assert rows.loc["plain", ["base", "difference", "p", "shared_seeds"]].isna().all()


def test_lists_of_equal_spread_do_not_differ(tmp_path: Path) -> None:
    """Rounding alone must not move a distance, let alone with a small p."""
    catalogue(tmp_path, [0, 1, 2, 3, 3, 4])
    split(tmp_path, [[0, 1, 2], [1], [2, 5], [3, 1, 1]])
    paths = [
        recommendations(tmp_path, llm(name), {e: [item, 0, 1] for e in range(4)})
        for name, item in (("plain", 3), ("cft", 4))
    ]
    found = balance(paths, prepared(tmp_path), k=3, draws=Draws(resamples=200))
    rows = found.query("objective == 'cft'")
    assert (rows["difference"] == 0).all()
    assert (rows["difference_low"] == 0).all()
    assert (rows["p"] == 1).all()


def test_equal_titles_are_one_whichever_item_is_listed(tmp_path: Path) -> None:
    path, titles = tmp_path / "data/toy/catalogue.parquet", ["Heat", "Dune", "Heat", "Heat"]
    write_catalogue(path, titles, [1, 5, 7, 7], [0, 2, 3, 4])
    read = read_catalogue(tmp_path / "data/toy")
    assert read.title_of.tolist() == [0, 1, 0, 0]
    # Item 2: the most training targets, and before item 3.
    assert read.group.tolist() == [3, 2]
    assert read.train_count.tolist() == [7, 5]
    split(tmp_path, [[0], [3]])
    lists = recommendations(tmp_path, llm(), {0: [2], 1: [0]})
    found = balance([lists], prepared(tmp_path), k=1, draws=Draws(resamples=20)).query("k == 1")
    assert value(found, "total_variation") == 0
    assert value(found, "coverage") == 0.5


@given(st.lists(st.lists(st.integers(0, 4), min_size=3, max_size=3), min_size=1))
def test_counts_equal_a_loop(groups: list[list[int]]) -> None:
    expected = np.zeros((len(groups), 2, 5))
    for row, listed in enumerate(groups):
        for i, k in enumerate((1, 3)):
            for group in listed[:k]:
                expected[row, i, group] += 1
    assert (count_groups(np.array(groups), (1, 3)) == expected).all()


def test_distances_of_disjoint_and_equal() -> None:
    one, other = np.array([1.0, 0]), np.array([0, 1.0])
    for distance in (total_variation, jensen_shannon):
        assert distance(one, other) == 1
        assert distance(one, one) == 0
    third = np.array([1 / 3, 1 / 3, 1 / 3])
    assert jensen_shannon(third, third) == pytest.approx(0, abs=1e-7)


@given(st.integers(0, 1000))
def test_jensen_shannon_agrees_with_scipy(seed: int) -> None:
    first, second = np.random.default_rng(seed).dirichlet(np.full(5, 0.3), size=(2, 3))
    expected = jensenshannon(first, second, base=2, axis=-1)
    assert jensen_shannon(first, second) == pytest.approx(expected, abs=1e-9)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any))
def test_gini_is_the_mean_difference_of_pairs(counts: list[int]) -> None:
    x = np.array(counts)
    # Half the relative mean absolute difference, over all ordered pairs.
    expected = np.abs(x[:, None] - x).mean() / (2 * x.mean())
    assert gini(x) == pytest.approx(expected)


def test_leaving_a_part_out_equals_counting_the_rest() -> None:
    rng = np.random.default_rng(0)
    rows, titles = rng.integers(4, size=60), rng.integers(20, size=60)
    both, without = concentration(rows, titles, 4, 25)
    assert both[1] == len(set(titles)) / 25
    for part in range(4):
        rest = titles[rows != part]
        assert without[part, 1] == len(set(rest)) / 25
        assert without[part, 0] == pytest.approx(gini(np.bincount(rest, minlength=25)))


def test_standard_error_of_a_mean_is_the_textbooks() -> None:
    x = np.array([1.0, 4, 4, 9])
    without = np.array([np.delete(x, i).mean() for i in range(4)])
    one_seed = jackknife_error(np.array([[x.mean()]]), without[None, :, None])
    assert one_seed[0] == pytest.approx(x.std(ddof=1) / 2)
    users, seeds = x.var(ddof=1) / 4, 2 / 2
    error, freedom = jackknife_error(np.array([[4.0], [6.0]]), np.stack([without[:, None]] * 2))
    assert error == pytest.approx(np.sqrt(users + seeds))
    # Satterthwaite, 1946: the users count as known.
    assert freedom == pytest.approx((users + seeds) ** 2 / seeds**2)
    assert np.isnan(jackknife_error(np.array([[1.0]]), without[None, :1, None])).all()


def test_intervals_hold_what_another_sample_of_users_gives() -> None:
    """The jackknife's interval of coverage holds its expectation; a bootstrap's would never."""
    rng = np.random.default_rng(0)
    popularity = rng.dirichlet(np.full(80, 0.5))
    users, listed = 40, 5
    rows = np.repeat(np.arange(users), listed)
    samples = [rng.choice(80, size=users * listed, p=popularity) for _ in range(300)]
    measured = [concentration(rows, titles, users, 80) for titles in samples]
    values = np.array([both for both, _ in measured])
    errors = np.array([jackknife_error(v[None], w[None])[0] for v, w in measured])
    held = np.abs(values - values.mean(axis=0)) <= 1.96 * errors
    assert (held.mean(axis=0) >= 0.93).all()
    resampled = []
    for titles in samples[:20]:
        drawn = rng.integers(users, size=(200, users))
        lists = titles.reshape(users, listed)[drawn].reshape(200, -1)
        resampled.append([len(set(one)) / 80 for one in lists])
    _, high = interval(np.array(resampled).T)
    assert (high < values[:, 1].mean()).mean() > 0.5


def test_basic_interval_of_a_small_distance_is_not_too_high() -> None:
    """Of equal distributions the reflected interval mostly reaches 0, the percentiles' never."""
    rng = np.random.default_rng(1)
    reach = percentile = 0
    for _ in range(40):
        counts = rng.multinomial(10, np.full(5, 0.2), size=(2, 60)).astype(float)
        drawn = cluster_bootstrap(np.hstack(list(counts)), np.arange(60), Draws(resamples=200))
        samples = total_variation(*drawn.reshape(-1, 2, 5).swapaxes(0, 1) / 10)
        truth = total_variation(*(c.mean(axis=0) / 10 for c in counts))
        reach += interval(2 * truth - samples)[0] <= 0
        percentile += interval(samples)[0] <= 0.005
    assert reach >= 25 > 5 >= percentile
