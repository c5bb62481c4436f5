from pathlib import Path

import numpy as np
import pytest

from scripts.analyse.sensitivity import sensitivity
from scripts.command import InputError
from scripts.evaluate.bootstrap import Draws
from tests.tiny_study import llm, metrics

POINTS = {
    "cft": {"alpha": 0.1, "beta": 0.25},
    "cft-alpha0.3": {"alpha": 0.3, "beta": 0.25},
    "cft-beta0.5": {"alpha": 0.1, "beta": 0.5},
}


def test_the_centre_stands_on_both_axes(tmp_path: Path) -> None:
    paths = [metrics(tmp_path, llm(name), [1, 2]) for name in (*POINTS, "plain", "weighted")]
    found = sensitivity(paths, POINTS, "cft", Draws(resamples=10))
    found = found[(found["metric"] == "hr") & (found["k"] == 1)]
    points = found[["parameter", "objective"]].apply(tuple, axis=1)
    assert list(points) == [
        ("alpha", "cft"),
        ("alpha", "cft-alpha0.3"),
        ("base", "plain"),
        ("beta", "cft"),
        ("beta", "cft-beta0.5"),
    ]
    assert found["parameter_value"].tolist()[:2] == [0.1, 0.3]
    assert found["parameter_value"].tolist()[3:] == [0.25, 0.5]
    assert set(found["value"]) == {0.5}
    # Points that are all alike have a range.
    assert found["range"].fillna(-1).tolist() == [0, 0, -1, 0, 0]


def test_differences_are_paired_with_the_base_of_the_same_seed(tmp_path: Path) -> None:
    paths = [
        metrics(tmp_path, llm("plain", 0), [1, 1, None]),
        metrics(tmp_path, llm("plain", 1), [None, None, None]),
        metrics(tmp_path, llm("cft", 0), [1, 1, None]),
        metrics(tmp_path, llm("cft", 1), [1, 1, None]),
        # A seed that the base lacks is left out of the difference.
        metrics(tmp_path, llm("cft", 2), [None, None, None]),
    ]
    found = sensitivity(paths, POINTS, "cft", Draws(resamples=500))
    found = found[(found["metric"] == "hr") & (found["k"] == 1)].set_index("objective")
    assert found.loc["plain", ["difference", "difference_low", "p"]].isna().all()
    centre = found.loc["cft"].iloc[0]
    # 0 with the one seed and 2/3 with the other, and two seeds tell little.
    assert centre["difference"] == pytest.approx(1 / 3)
    assert centre["difference_low"] < 0
    assert centre["difference_high"] > 1
    assert centre["value"] == pytest.approx(4 / 9)
    assert centre["seed_sd"] == pytest.approx(np.std([2 / 3, 2 / 3, 0], ddof=1))
    assert (centre["seeds"], centre["shared_seeds"], found.loc["plain", "seeds"]) == (3, 2, 2)


def test_an_unknown_centre_is_named() -> None:
    with pytest.raises(InputError, match="centre: 'other'"):
        sensitivity([], POINTS, "other")
