from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.cases import cases, choose
from scripts.command import InputError
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables.cases import cases as table
from scripts.tables.cases import examples, shortened
from scripts.tables.format import write
from tests.small_data import write_catalogue, write_examples
from tests.tiny_study import as_read, baseline, llm, prepared, recommendations, token_effects

TITLES = ["Heat", "Dune", "Heat", "Big", "Jaws & 100 % | *Fun*_"]


def test_rule_by_hand() -> None:
    base = np.array([4.0, 1, 4, 2, 3])
    ours = np.array([2.0, 4, 2, 2, 2])  # up by 2, -3, 2, 0, 1
    found = choose(base, ours, seed=0)
    assert found.pop("drawn") in range(5)
    # Ties go to the earlier example; sorted moves are -3, 0, 1, 2, 2.
    assert found == {"moved up most": 0, "moved down most": 1, "median move": 4}
    assert set(choose(base, base, seed=0)) == {"median move", "drawn"}
    assert set(choose(base[:1], ours[:1], seed=0)) == {"moved up most", "median move", "drawn"}
    # Of an even number, the lower one.
    assert choose(np.array([3.0, 3]), np.array([1.0, 2]), seed=0)["median move"] == 1
    # Of many that do not move, the first.
    assert choose(np.arange(1, 8.0), np.arange(1, 8.0), seed=0)["median move"] == 0
    drawn = {choose(base, ours, seed)["drawn"] for seed in range(50)}
    assert drawn == set(range(5))


@pytest.fixture
def found(tmp_path: Path) -> pd.DataFrame:
    return made(tmp_path, 2)


def made(tmp_path: Path, known: int) -> pd.DataFrame:
    """Analysis of three examples; the last is not in the models' sub-sample. The effects are of so
    many."""
    write_catalogue(tmp_path / "data/toy/catalogue.parquet", TITLES)
    test = [("ann", [1, 3], 0), ("bob", [3], 4), ("cid", [1], 1)]
    write_examples(tmp_path / "data/toy/examples/test.parquet", test)
    paths = [
        recommendations(tmp_path, llm("plain"), {0: [1, 3, 2], 1: [4, 1, 0]}),  # Heat: item 2, too
        recommendations(tmp_path, llm("cft"), {0: [0, 1, 3], 1: [1, 3, 0]}),
        recommendations(tmp_path, llm("cft", history="without"), {0: [3, 1, 0], 1: [3, 1, 0]}),
        recommendations(tmp_path, baseline("pop"), {i: [3, 2] for i in range(3)}),
    ]
    effects = [tokens(tmp_path, name, known) for name in ("plain", "cft")]
    return as_read(cases(paths, effects, prepared(tmp_path)))


def tokens(root: Path, objective: str, known: int) -> Path:
    """Effects of the target's tokens of so many examples."""
    rows = [
        (example, "ann", 1 + place, 3, -0.5, place - 2.0, -0.5, token)
        for example in range(known)
        for place, token in enumerate(['"', "NA", "eos"])
    ]
    return token_effects(root, llm(objective), rows)


def test_lists_and_ranks_of_the_chosen(found: pd.DataFrame) -> None:
    up = found[found["case"] == "moved up most"]
    assert set(up["example_id"]) == {0}
    assert up.loc[up["list"] == "history", "title"].tolist() == ["Big", "Dune"]
    assert up.loc[up["list"] == "target", "title"].tolist() == ["Heat"]
    plain = up[up["list"] == "plain, with"]
    assert plain["title"].tolist() == ["Dune", "Big", "Heat"]
    assert plain["is_target"].tolist() == [False, False, True]
    assert plain["target_rank"].tolist() == [3, 3, 3]
    assert up.loc[up["list"] == "cft, with", "target_rank"].unique().tolist() == [1]
    down = found[found["case"] == "moved down most"]
    assert set(down["example_id"]) == {1}
    assert down.loc[down["list"] == "cft, with", "target_rank"].isna().all()
    assert set(found["examples"]) == {2}
    assert set(found["users"]) == {2}


def test_table_marks_the_target_and_escapes_titles(found: pd.DataFrame, tmp_path: Path) -> None:
    write(table(found, Labels()), None, tmp_path / "t.csv")
    shown = read_csv(tmp_path / "t.csv").set_index(["Case (example)", "#"])
    named = table(found.replace({"list": {"cft, with": "Case, with"}}), Labels()).rows
    assert named["Case"].tolist() == table(found, Labels()).rows["cft"].tolist()
    up = shown.loc["moved up most (0)"]
    assert up.loc["target"].tolist() == ["Heat", "rank 3", "rank 1", "rank 3"]
    assert up.loc["3"].tolist() == ["–", "Heat", "Big", "Heat"]
    assert shown.columns.tolist()[-1] == "cft, without history"
    assert shown.loc[("moved down most (1)", "target"), "cft"] == "beyond 3"
    assert (tmp_path / "t.md").read_text().count("**Heat**") >= 4
    assert r"Jaws \& 100 \% " in (tmp_path / "t.tex").read_text()
    assert r"Jaws & 100 % \|" in (tmp_path / "t.md").read_text()


def test_examples_are_whole_with_all_lists_and_tokens(found: pd.DataFrame) -> None:
    up, down, *_ = examples(found, {"pop": "Most popular"})
    assert (up["case"], up["example_id"], up["target"]) == ("moved up most", 0, "Heat")
    assert down["target"] == TITLES[4]
    assert {one["name"]: one["rank"] for one in up["lists"]} == {
        **{"History, latest first": "", "plain": "rank 3", "cft": "rank 1"},
        **{"cft, without history": "rank 3", "Most popular": "rank 2"},
    }
    assert up["lists"][-1]["titles"] == [("Big", False), ("Heat", True)]
    rows = [[cell["text"] for cell in row] for row in up["tokens"]["rows"]]
    assert up["tokens"]["header"][3:5] == ["plain, effect", "cft, with"]
    assert [row[:4] for row in rows] == [
        *(['"', "−0.50", "−2.00", "+1.50"], ["NA", "−0.50", "−1.00", "+0.50"]),
        *(["eos", "−0.50", "0.00", "−0.50"], ["sum", "−1.50", "−3.00", "+1.50"]),
    ]


def test_shortened_titles() -> None:
    assert shortened("Heat") == "Heat"
    assert shortened("a  b\nc") == "a b c"
    assert shortened("A long day closes", 8) == "A long…"
    assert len(shortened("x" * 99)) == 30


def test_one_list_is_no_comparison(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the base and of the objective"):
        cases([tmp_path / "x"], [], prepared(tmp_path))


def test_effects_of_other_examples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"seed-0\.parquet: lacks examples of .*; rerun it"):
        made(tmp_path, 1)
