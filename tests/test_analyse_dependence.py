from pathlib import Path

import pytest

from scripts.analyse.dependence import dependence, overlap
from scripts.command import InputError
from scripts.files import read_csv
from tests.tiny_study import llm, metrics, recommendations


def test_a_pair_by_hand(tmp_path: Path) -> None:
    shown, hidden = llm(), llm(history="without")
    paths = [metrics(tmp_path, shown, [1, 1, 2, 2]), metrics(tmp_path, hidden, [1, None, None, 2])]
    lists = [
        recommendations(tmp_path, shown, {i: [0, 1, 2, 3] for i in range(4)}),
        recommendations(tmp_path, hidden, {i: [3, 7, 8, 9] for i in range(4)}),
    ]
    dependence(paths, lists, tmp_path / "out.csv", resamples=50)
    found = read_csv(tmp_path / "out.csv").set_index(["metric", "k"])
    row = found.loc[("hr", 1)]
    assert (row["with_history"], row["without_history"]) == (0.5, 0.25)
    assert (row["ratio"], row["difference"], row["overlap"]) == (0.5, 0.25, 0.25)
    assert found.loc[("hr", 3), "ratio"] == 0.5
    assert (row["examples"], row["users"]) == (4, 3)


def test_overlap_counts_the_top_alone(tmp_path: Path) -> None:
    one = recommendations(tmp_path, llm(), {0: [1, 2, 3], 1: [1, 2, 3]})
    two = recommendations(tmp_path, llm("cft"), {0: [2, 1, 9], 1: [9, 8, 1]})
    assert overlap(one, two, top=2) == 0.5
    assert overlap(one, two, top=3) == pytest.approx((2 / 3 + 1 / 3) / 2)


def test_a_pair_without_lists_is_named(tmp_path: Path) -> None:
    cells = [llm(), llm(history="without")]
    with pytest.raises(InputError, match="no recommendations were given"):
        dependence([metrics(tmp_path, c, [1]) for c in cells], [], tmp_path / "out.csv", 10)
