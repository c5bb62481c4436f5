import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scripts.analyse.gains import gains
from scripts.evaluate.bootstrap import Draws
from tests.tiny_study import baseline, llm, metrics

pytestmark = pytest.mark.usefixtures("any_hits")


def hr_at(found: pd.DataFrame, k: int) -> pd.Series:
    return found[(found["metric"] == "hr") & (found["k"] == k)].iloc[0]


def test_differences_of_common_seeds_by_hand(tmp_path: Path) -> None:
    paths = [
        metrics(tmp_path, llm("plain", 0), [1, None, None, None]),  # HR@1 1/4
        metrics(tmp_path, llm("plain", 1), [1, None, None, None]),  # 1/4
        metrics(tmp_path, llm("cft", 0), [1, 1, 1, None]),  # 3/4
        metrics(tmp_path, llm("cft", 1), [1, None, None, 1]),  # 2/4
        metrics(tmp_path, llm("cft", 2), [1, 1, 1, 1]),  # no plain model with this seed
        metrics(tmp_path, baseline("sasrec"), [1, 1, 1, 1]),
    ]
    found = gains(paths, {"plain": []}, Draws(resamples=4000))
    assert set(found["objective"]) == {"cft"}
    row = hr_at(found, 1)
    assert row["base_value"] == 0.25
    assert row["value"] == 0.625
    assert row["difference"] == 0.375
    assert row["relative_gain"] == pytest.approx(150)
    assert row["seed_sd"] == pytest.approx(np.std([0.5, 0.25], ddof=1))
    assert (row["seeds"], row["examples"], row["users"]) == (2, 4, 3)
    # Differences of ann (two examples), bob and cid with either seed; all 4 x 27 draws.
    sums, counts = {0: [1, 1, 0], 1: [0, 0, 1]}, [2, 1, 1]
    exact = [
        np.mean([sum(sums[s][u] for u in users) / sum(counts[u] for u in users) for s in seeds])
        for seeds in itertools.product(range(2), repeat=2)
        for users in itertools.product(range(3), repeat=3)
    ]
    # Two seeds are few, so that the interval is wider than all draws, by up to Student's t of one
    # degree of freedom over the normal quantile, and the square root of 2.
    low, high = np.quantile(exact, [0.025, 0.975])
    most = np.sqrt(2) * stats.t.ppf(0.975, 1) / stats.norm.ppf(0.975)
    assert 0.375 + most * (low - 0.375) < row["low"] < low
    assert high < row["high"] < 0.375 + most * (high - 0.375)
    assert row["p"] > 2 * np.mean(np.array(exact) <= 0) - 0.03


def test_no_gain_over_a_base_without_hits_and_no_sd_of_one_seed(tmp_path: Path) -> None:
    paths = [
        metrics(tmp_path, llm("plain"), [None] * 4, depth=10),
        metrics(tmp_path, llm("cft"), [1] * 4, depth=10),
        # Histories are compared separately.
        metrics(tmp_path, llm("cft", history="without"), [1] * 4, depth=10),
    ]
    found = gains(paths, {"plain": []}, Draws(resamples=20))
    assert set(found["history"]) == {"with"}
    row = hr_at(found, 10)
    assert row["difference"] == row["low"] == row["high"] == 1
    assert np.isnan(row["relative_gain"])
    assert np.isnan(row["seed_sd"])
    assert np.isnan(hr_at(found, 20)["difference"])


def test_nothing_to_compare_gives_an_empty_table(tmp_path: Path) -> None:
    assert gains([metrics(tmp_path, llm("plain"), [1])], {"plain": []}).empty
