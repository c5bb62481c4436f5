"""Accuracy, time and memory against the length of the histories, from files written by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from scripts.analyse.history_length import history_length
from scripts.cells import Cell
from scripts.command import InputError
from scripts.contracts import CUTOFFS
from scripts.evaluate.bootstrap import Draws
from scripts.files import read_csv, write_json
from scripts.labels import Labels
from scripts.tables.format import write
from scripts.tables.history_length import history_length as table
from tests.small_data import write_examples
from tests.tiny_study import as_read, llm, metrics

POINT = ["objective", "length", "metric", "k"]
LENGTHS = {"toy": ("toy", 2), "toy+history3": ("toy", 3)}
#: Ranks of the target for ann, ann, bob, cid.
RANKS = {
    ("toy", "plain"): [1, None, 1, None],
    ("toy", "cft"): [1, 1, None, None],
    ("toy+history3", "plain"): [1, 1, 1, None],
    ("toy+history3", "cft"): [1, 1, None, None],
}


def inputs(root: Path) -> dict[str, list[Path]]:
    """Files of four cells; the test split has an example more than was decoded."""
    files: dict[str, list[Path]] = {"metrics": [], "runs": [], "decodings": [], "tests": []}
    for (dataset, objective), ranks in RANKS.items():
        cell: Cell = llm(objective)._replace(dataset=dataset)
        files["metrics"].append(metrics(root, cell, ranks, depth=10))
        length = LENGTHS[dataset][1]
        run = root / "models" / cell.model / "run.json"
        write_json(
            {
                "seconds_per_step": length * (2.0 if objective == "cft" else 1.0),
                "train_examples": 50,
                "truncated_prompts": 5 * (length - 2),
                "seconds": 60.0,
                "resumed": objective == "cft",
                "device": "abacus",
            },
            run,
        )
        record = root / "recommendations" / f"{cell.path}.json"
        record_of = {"examples": 4, "prompts": 3, "seconds": 6.0, "truncated_prompts": length - 2}
        write_json(record_of | {"device": "abacus"}, record)
        files["runs"].append(run)
        files["decodings"].append(record)
    for dataset, (_, length) in LENGTHS.items():
        path = root / "data" / dataset / "examples" / "test.parquet"
        lengths = [1, length, length, 1, length]
        write_examples(path, [(user, [0] * n, 0) for user, n in zip("aabcd", lengths, strict=True)])
        files["tests"].append(path)
    return files


@pytest.fixture
def found(tmp_path: Path) -> pd.DataFrame:
    draws = Draws(resamples=200)
    frame = as_read(history_length(**inputs(tmp_path), lengths=LENGTHS, k=1, draws=draws))
    assert set(frame["dataset"]) == {"toy"}
    return frame


def test_accuracy_and_paired_differences(found: pd.DataFrame) -> None:
    found = found.set_index(POINT).sort_index()
    point = found.loc[("plain", 3, "hr", 1)]
    assert (point["value"], point["difference"]) == (0.75, 0.25)
    # Of ann's two examples one gains: a draw of ann alone gives 1/2, one without ann gives 0.
    assert (point["difference_low"], point["difference_high"]) == (0, pytest.approx(0.5))
    same = found.loc[("cft", 3, "ndcg", 1)]
    assert same[["difference", "difference_low", "difference_high"]].tolist() == [0, 0, 0]
    assert same["low"] < same["value"] < same["high"]
    shortest = found.loc[("plain", 2, "hr", 10)]
    assert shortest["value"] == 0.5
    assert shortest[["difference", "difference_low", "difference_high"]].isna().all()
    assert (shortest["examples"], shortest["users"]) == (4, 3)
    beyond = found.loc[("plain", 3, "hr", 50)]
    assert beyond[["value", "difference", "difference_low"]].isna().all()
    assert len(found.loc[("cft", 2, "hr")]) == len(CUTOFFS)


def test_histories_and_costs(found: pd.DataFrame) -> None:
    found = found.set_index(POINT).sort_index()

    def value(objective: str, length: int, metric: str) -> float:
        return found.xs((objective, length, metric), level=[0, 1, 2])["value"].item()

    # The fifth test example was not decoded: (1 + 3 + 3 + 1) / 4.
    assert value("plain", 3, "mean_history") == 2
    assert value("cft", 2, "mean_history") == 1.5
    assert value("plain", 3, "training_seconds_per_step") == 3
    assert value("cft", 3, "training_relative") == 2
    assert value("cft", 3, "decoding_seconds_per_prompt") == 2
    assert value("plain", 2, "training_truncated_share") == 0
    assert value("plain", 3, "training_truncated_share") == 0.1
    assert value("plain", 3, "decoding_truncated_share") == 0.25
    # A resumed run does not know its time.
    assert ("cft", 3, "training_seconds") not in found.index.droplevel("k")
    assert value("plain", 3, "training_seconds") == 60


def test_the_table(tmp_path: Path, found: pd.DataFrame) -> None:
    labels = Labels(datasets={"toy": "Toy"})
    write(table(found, labels, k=1), None, tmp_path / "t.csv")
    shown = read_csv(tmp_path / "t.csv")
    assert shown[["Objective", "Longest history"]].to_numpy().tolist() == [
        *(["plain", 2], ["plain", 3], ["cft", 2], ["cft", 3])
    ]
    assert set(shown["Data set"]) == {"Toy"}
    assert shown["Δ HR@1"].tolist()[::2] == ["–", "–"]
    last = shown.iloc[1]
    assert last["HR@1"].startswith("0.7500 [")
    assert last["Δ HR@1"] == "+0.2500 [+0.0000, +0.5000]; p 1.000"
    assert last["Seconds per step"] == 3
    assert last["Shortened prompts (%), training / test"] == "10.0 / 25.0"
    assert last["Peak memory (MB), training / decoding"] == "– / –"
    text = (tmp_path / "t.md").read_text()
    assert "4 test examples of 3 users; seeds per row: 1; device: abacus." in text


def test_another_split_is_named(tmp_path: Path) -> None:
    files = inputs(tmp_path)
    write_examples(files["tests"][1], [("a", [0], 0)], first=3)
    with pytest.raises(InputError, match=r"toy\+history3/examples/test.parquet: lacks examples"):
        history_length(**files, lengths=LENGTHS, k=1, draws=Draws(resamples=10))
