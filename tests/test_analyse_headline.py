"""The mean relative gain over NDCG@5 and HR@5, per data set and over all."""

from pathlib import Path

import numpy as np
import pytest

from scripts.analyse.headline import headline
from scripts.cells import ALL
from scripts.evaluate.bootstrap import Draws
from tests.tiny_study import baseline, llm, metrics

pytestmark = pytest.mark.usefixtures("any_hits")


def test_gains_by_hand(tmp_path: Path) -> None:
    paths = [
        metrics(tmp_path, baseline("sasrec"), [1, 1, 1, 1]),
        # HR@5 1/4 and 3/4 (+200 %), NDCG@5 1/4 and (1 + 2 / log2(3)) / 4.
        metrics(tmp_path, llm("plain"), [1, None, None, None]),
        metrics(tmp_path, llm("cft"), [1, 2, 2, None]),
        # A second data set: +100 % in both.
        metrics(tmp_path, llm("plain")._replace(dataset="other"), [1, None, None, None]),
        metrics(tmp_path, llm("cft")._replace(dataset="other"), [1, 1, None, None]),
        # Without history nothing is compared.
        metrics(tmp_path, llm("plain", history="without"), [1, 1, 1, 1]),
        metrics(tmp_path, llm("cft", history="without"), [1, 1, 1, 1]),
    ]
    found = headline(paths, ["toy", "other"], Draws(resamples=500)).set_index("dataset")
    toy = (200 + 100 * 2 / np.log2(3)) / 2
    assert found["relative_gain"].to_dict() == {
        "toy": pytest.approx(toy),
        "other": pytest.approx(100),
        ALL: pytest.approx((toy + 100) / 2),
    }
    assert found["examples"].to_dict() == {"toy": 4, "other": 4, ALL: 8}
    assert found["users"].to_dict() == {"toy": 3, "other": 3, ALL: 6}
    assert found["datasets"].to_dict() == {"toy": 1, "other": 1, ALL: 2}
    # Ann alone has hits of the base, and is missing in 8 of 27 draws: they have no gain.
    assert found[["low", "high"]].isna().all(axis=None)
    assert found["seed_sd"].isna().all()


def test_the_gain_is_that_of_the_ratio_of_means(tmp_path: Path) -> None:
    """With one user there is one draw; with two seeds there are four, of three kinds."""
    paths = [
        metrics(tmp_path, llm("plain", 0), [1, None]),
        metrics(tmp_path, llm("cft", 0), [1, 1]),
        metrics(tmp_path, llm("plain", 1), [1, 1]),
        metrics(tmp_path, llm("cft", 1), [1, None]),
        # Lists shorter than five have no gain.
        metrics(tmp_path, llm("plain", decoder="greedy"), [1, None], depth=1),
        metrics(tmp_path, llm("cft", decoder="greedy"), [1, None], depth=1),
    ]
    found = headline(paths, ["toy", "other"], Draws(resamples=500)).set_index("decoder")
    assert found.loc["greedy", ["relative_gain", "low", "high", "p"]].isna().all()
    row = found.loc["grounded"]
    # 1/2 to 1 with the one seed, 1 to 1/2 with the other: +100 % and −50 %, and of both 0 %.
    assert row["relative_gain"] == 0
    # Two seeds are few: both ends lie beyond what can be drawn.
    assert row["low"] < -50
    assert row["high"] > 100
    assert row["seed_sd"] == pytest.approx(np.std([100, -50], ddof=1))
    assert row["p"] > 0.5
