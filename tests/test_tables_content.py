"""Every table from tidy CSV: the rows it has and what it must not claim."""

from pathlib import Path

import pandas as pd
import pytest

from scripts.analyse.accuracy import accuracy as analyse_accuracy
from scripts.analyse.balance import balance as analyse_balance
from scripts.analyse.dependence import dependence as analyse_dependence
from scripts.analyse.gains import gains as analyse_gains
from scripts.analyse.sensitivity import sensitivity as analyse_sensitivity
from scripts.files import read_csv, write_csv
from scripts.labels import Labels
from scripts.tables.ablation import ablation
from scripts.tables.accuracy import Method, accuracy
from scripts.tables.balance import balance
from scripts.tables.cost import cost
from scripts.tables.dependence import dependence
from scripts.tables.sensitivity import sensitivity
from scripts.tables.statistics import show, statistics
from tests.tiny_study import baseline, catalogue, llm, metrics, recommendations, split

LABELS = Labels(datasets={"toy": "Toy"}, baselines={"pop": "Most popular"})
METHODS = [
    Method(label="BIGRec", objective="plain", decoder="grounded"),
    Method(label="BIGRec + CFT", objective="cft", decoder="grounded", base="BIGRec"),
    Method(label="absent", objective="cft", decoder="constrained", base="BIGRec"),
]


@pytest.fixture
def measured(tmp_path: Path) -> list[Path]:
    return [
        metrics(tmp_path, baseline("pop"), [1, None, None, None]),
        metrics(tmp_path, llm("plain", 0), [2, None, 1, None]),
        metrics(tmp_path, llm("plain", 1), [2, None, None, None]),
        metrics(tmp_path, llm("cft", 0), [2, 1, 1, None]),
        metrics(tmp_path, llm("cft", 1), [2, 1, 1, None]),
    ]


def test_accuracy(tmp_path: Path, measured: list[Path]) -> None:
    analyse_accuracy(measured, tmp_path / "accuracy.csv", 50)
    analyse_gains(measured, tmp_path / "gains.csv", resamples=50)
    output = tmp_path / "table.csv"
    accuracy(tmp_path / "accuracy.csv", tmp_path / "gains.csv", METHODS, LABELS, output)
    table = read_csv(output)
    assert table["Method"].tolist() == [
        *("Most popular", "BIGRec", "BIGRec + CFT", "gain over BIGRec", "Most popular"),
    ]
    assert table["Data set"].unique().tolist() == ["Toy"]
    by_name = table.drop_duplicates("Method").set_index("Method")
    assert by_name.loc["Most popular", "HR@1"] == "0.2500"
    # HR@5 of plain is 2/4 and 1/4: mean 0.375, sd 0.1768; cft has 3/4 twice.
    assert by_name.loc["BIGRec", "HR@5"] == "0.3750 ± 0.1768"
    assert by_name.loc["BIGRec + CFT", "HR@5"] == "0.7500 ± 0.0000"
    assert by_name.loc["gain over BIGRec", "HR@5"].startswith("+100.0 %; +0.3750 [")
    assert by_name.loc["gain over BIGRec", "HR@1"] == "–"
    text = output.with_suffix(".md").read_text()
    assert "**0.7500 ± 0.0000**" in text
    assert "undecided" in text
    assert "4 test examples of 3 users" in text


def test_ablation(tmp_path: Path, measured: list[Path]) -> None:
    analyse_accuracy(measured, tmp_path / "accuracy.csv", 50)
    analyse_gains(measured, tmp_path / "gains.csv", resamples=50)
    ablation(tmp_path / "accuracy.csv", tmp_path / "gains.csv", LABELS, tmp_path / "t.csv")
    table = read_csv(tmp_path / "t.csv").set_index("Objective")
    assert table.loc["plain", "Δ HR@5"] == "–"
    assert table.loc["cft", "Δ HR@5"].startswith("+0.3750 [")


def test_balance_and_dependence(tmp_path: Path) -> None:
    items, test = catalogue(tmp_path, [0, 1, 2, 3, 4]), split(tmp_path, [[0, 1], [2, 3]])
    cells = [llm(), llm(history="without")]
    lists = [recommendations(tmp_path, c, {0: [4, 3, 2], 1: [4, 3, 1]}) for c in cells]
    analyse_balance(lists, [items], [test], tmp_path / "b.csv", 20)
    balance(tmp_path / "b.csv", LABELS, tmp_path / "t.csv", k=1)
    table = read_csv(tmp_path / "t.csv").set_index("Method")
    assert table.loc["users' histories", "Group 0"] == 25
    assert table.loc["plain, grounded", "Group 4"] == 100
    assert table.loc["plain, grounded", "Distance"] == 1
    measured = [metrics(tmp_path, c, [1, None]) for c in cells]
    analyse_dependence(measured, lists, tmp_path / "d.csv", 20)
    dependence(tmp_path / "d.csv", LABELS, tmp_path / "t.csv")
    row = read_csv(tmp_path / "t.csv").iloc[0]
    assert row["HR@10 ratio"] == 1
    assert row["Overlap@10"] == 1
    assert row["Δ HR@10"] == "+0.0000 [+0.0000, +0.0000]"


def test_sensitivity(tmp_path: Path, measured: list[Path]) -> None:
    points = {"cft": {"alpha": 0.1, "beta": 0.25}}
    analyse_sensitivity(measured[1:], points, "cft", tmp_path / "s.csv", resamples=20)
    sensitivity(tmp_path / "s.csv", LABELS, tmp_path / "t.csv")
    assert read_csv(tmp_path / "t.csv")["Varied"].tolist() == ["α = 0.1", "base", "β = 0.25"]


def test_cost(tmp_path: Path) -> None:
    row = {
        "dataset": "toy",
        "backbone": "tiny",
        "objective": "cft",
        "seed": 0,
        "stage": "training",
        "decoder": None,
        "history": None,
        "device": "cpu",
        "examples": 64,
        "steps": 10,
        "seconds": 20.0,
        "seconds_per_step": 2.0,
        "tokens_per_step": 100.0,
        "peak_memory_mb": 500.0,
        "truncated_prompts": 0,
        "seconds_per_prompt": None,
        "relative": 1.9,
    }
    decoding = row | {"stage": "decoding", "decoder": "grounded", "history": "with"}
    decoding |= {"seconds_per_step": None, "seconds_per_prompt": 0.5, "steps": None}
    write_csv(pd.DataFrame([row, decoding]), tmp_path / "c.csv")
    cost(tmp_path / "c.csv", LABELS, tmp_path / "t.csv")
    table = read_csv(tmp_path / "t.csv")
    assert table["Stage"].tolist() == ["training", "grounded, with"]
    assert table["Seconds per step / prompt"].tolist() == [2, 0.5]
    assert table["Steps"].tolist() == ["10", "–"]
    assert "Device: cpu. Seeds: 0." in (tmp_path / "t.md").read_text()


def test_statistics(tmp_path: Path) -> None:
    rows = [("toy", "lines_read", "9000"), ("toy", "users", "12"), ("toy", "first_malformed", "x")]
    frame = pd.DataFrame(rows, columns=["dataset", "statistic", "value"])
    write_csv(frame, tmp_path / "s.csv")
    statistics(tmp_path / "s.csv", LABELS, tmp_path / "t.csv")
    table = read_csv(tmp_path / "t.csv")
    assert table["Statistic"].tolist() == ["users", "lines read"]
    assert table["Toy"].tolist() == ["12", "9,000"]
    assert show("0.01234567") == "0.01235"
    assert show(None) == "–"
