import itertools
from pathlib import Path
from shutil import copy, copytree

import numpy as np
import pandas as pd
import pytest

from scripts.cells import Cell
from scripts.command import InputError
from scripts.compare import compare
from scripts.evaluate.bootstrap import Draws
from scripts.files import write_json
from tests.tiny_study import USERS, baseline, llm, metrics, recommendations

DRAWS = Draws(resamples=4000)
SPLIT = {"catalogue": "c", "test": "t"}
#: Ranks of the targets of ann (twice), bob and cid: NDCG@10 is 1 for rank 1 and .5 for rank 3.
OURS: dict[Cell, list[int | None]] = {
    llm("plain", 0): [1, 3, None, None],
    llm("plain", 1): [1, None, None, None],
    llm("cft", 0): [1, 1, 1, None],
    llm("cft", 1): [1, 3, None, 3],
    baseline("sasrec"): [3, 3, 3, 3],
}


def study(root: Path, cells: dict[Cell, list[int | None]], **changes) -> Path:
    """A folder of results with lists of one item."""
    for cell, ranks in cells.items():
        metrics(root, cell, ranks)
        recommendations(root, cell, {example: [0] for example in range(len(ranks))})
    manifest = {
        "k": 10,
        "study": {"seeds": [0, 1], "training": {"epochs": 3}},
        "data": {"toy": SPLIT},
        "trainings": {cell.model: {"valid_loss": 0.5} for cell in cells if not cell.baseline},
    }
    write_json(manifest | changes, root / "manifest.json")
    return root


def compared(tmp_path: Path, ours: Path, theirs: Path) -> pd.DataFrame:
    """What is written to the CSV."""
    compare(ours, theirs, tmp_path / "both.csv", DRAWS)
    return pd.read_csv(tmp_path / "both.csv").set_index(["objective", "seed"])


def test_differences_and_gains_by_hand(tmp_path: Path, capsys) -> None:
    theirs = OURS | {llm("plain", 1): [1, None, 3, None], llm("cft", 0): [1, None, 1, 3]}
    losses = {cell.model: {"valid_loss": 0.5 + (cell == llm("cft", 0))} for cell in OURS}
    other = study(tmp_path / "b", theirs, trainings=losses)
    found = compared(tmp_path, study(tmp_path / "a", OURS), other)
    cft, one = found.loc[("cft", np.nan)], found.loc[("cft", 0)]
    # CFT: seed 0 has 3/4 against 2.5/4; plain: seed 1 has 1/4 against 1.5/4.
    assert (one["ours"], one["theirs"], one["difference"]) == (0.75, 0.625, 0.125)
    assert (cft["ours"], cft["theirs"], cft["difference"]) == (0.625, 0.5625, 0.0625)
    assert found.loc[("plain", np.nan), "difference"] == -0.0625
    gains = cft[["gain_ours", "gain_theirs", "gain_difference"]]
    assert list(gains) == [0.625 - 0.3125, 0.5625 - 0.375, 0.125]
    # Of one seed the users alone are drawn: ann's 0 + 1, bob's 0, cid's -.5; all 27 draws.
    sums, sizes = [1, 0, -0.5], [2, 1, 1]
    exact = [
        sum(sums[u] for u in users) / sum(sizes[u] for u in users)
        for users in itertools.product(range(3), repeat=3)
    ]
    bounds = np.quantile(exact, [0.025, 0.975], method="inverted_cdf")
    assert list(one[["difference_low", "difference_high"]]) == pytest.approx(bounds)
    assert list(cft[["cells", "same_lists", "same_trainings"]]) == [2, 1, 1]
    text = capsys.readouterr().out
    assert "3 of 5 cells have the same lists." in text
    assert "NDCG@10 differs in 2 of 3 rows, by at most 0.0625" in text
    assert "The gain over plain differs in 1 of 3 rows, by at most 0.1250" in text


def test_equal_folders_and_lists_that_are_not_there(tmp_path: Path, capsys) -> None:
    ours, bare = study(tmp_path / "a", OURS), tmp_path / "b"
    found = compared(tmp_path, ours, ours)
    assert (found[["difference", "difference_low", "difference_high"]] == 0).all(axis=None)
    text = capsys.readouterr().out
    assert "differ\n\nNone." in text
    assert text.endswith("5 of 5 cells have the same lists.\n")
    # Metrics and manifest alone.
    copytree(ours / "metrics", bare / "metrics")
    copy(ours / "manifest.json", bare)
    assert compared(tmp_path, ours, bare)["same_lists"].tolist() == found["same_lists"].tolist()
    # The targets' ranks are alike, and yet the lists are not.
    recommendations(bare, llm("plain", 0), {example: [1] for example in range(4)})
    assert compared(tmp_path, ours, bare).loc["plain", "same_lists"].tolist() == [0, 1, 1]


def test_what_only_one_has_is_told(tmp_path: Path, capsys) -> None:
    fewer = {cell: ranks[:3] for cell, ranks in OURS.items() if not cell.baseline}
    changed = {"seeds": [0, 1], "training": {"epochs": 4, "<b>|\n\x1b": 1}}
    theirs = study(tmp_path / "b", fewer | {llm("causal"): [1, 1, 1]}, study=changed, k=5)
    found = compared(tmp_path, study(tmp_path / "a", OURS), theirs)
    text = capsys.readouterr().out
    assert "| study.training.epochs | 3 | 4 |" in text
    assert r"| study.training.&lt;b>\| | – | 1 |" in text
    assert "study.seeds" not in text
    assert "| k | 10 | 5 |" in text
    assert "NDCG@5 ours" in text
    assert "- Only ours has 1: toy/baselines/sasrec/seed-0" in text
    assert "- Only theirs has 1: toy/tiny/causal/seed-0/grounded/with" in text
    assert "- toy tiny: 1 examples are in one alone." in text
    assert found.loc[("cft", 0), "ours"] == 1
    assert set(found["examples"]) == {3}


@pytest.mark.parametrize(
    ("changes", "users", "first", "message"),
    [
        ({"data": {"toy": SPLIT | {"test": "u"}}}, USERS, 0, "no cell is in both with the same"),
        ({"data": {"toy": SPLIT | {"catalogue": "d"}}}, USERS, 0, "no cell is in both with the"),
        ({}, USERS[::-1], 0, "not of the same test examples"),
        ({}, USERS, 1000, "not of the same test examples"),
        ({"trainings": []}, USERS, 0, r"manifest\.json: is no manifest of a study; name a folder"),
    ],
)
def test_what_cannot_be_compared(tmp_path, monkeypatch, changes, users, first, message) -> None:
    ours, theirs = study(tmp_path / "a", OURS), study(tmp_path / "b", OURS, **changes)
    monkeypatch.setattr("tests.tiny_study.USERS", users)
    for cell, ranks in OURS.items():
        metrics(theirs, cell, ranks, first=first)
    with pytest.raises(InputError, match=message):
        compare(ours, theirs, draws=DRAWS)


def test_a_folder_without_a_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none/manifest\.json: is no manifest"):
        compare(study(tmp_path / "a", OURS), tmp_path / "none", draws=DRAWS)
