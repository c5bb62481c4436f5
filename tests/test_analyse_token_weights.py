"""Token weights by position, and the table and figure that show them."""

from pathlib import Path

import numpy as np
import pytest

from scripts.analyse.accuracy import accuracy
from scripts.analyse.gains import gains
from scripts.analyse.token_weights import token_weights
from scripts.evaluate.bootstrap import Draws
from scripts.figures.token_weights import token_weights as figure
from scripts.files import read_json, write_json
from scripts.labels import Labels
from scripts.style import save
from scripts.tables.token_weights import token_weights as table
from tests.tiny_study import as_read, llm, metrics

EQUAL = {"alpha": 0.1, "beta": 1.0, "token_weights": "linear"}
SETTINGS = {
    "causal": EQUAL,
    "cft": EQUAL | {"beta": 0.25},
    "cft-learned": EQUAL | {"token_weights": "learned"},
}
BASES = {"cft": "causal", "cft-learned": "causal"}


def record(root: Path, objective: str, seed: int, weights: list[float | None]) -> Path:
    """The run record of a model whose answers have two to four tokens, most of them three."""
    path = root / "models" / llm(objective, seed).model / "run.json"
    facts = {"token_weights": weights, "position_tokens": [10, 10, 9, 1, 0]}
    write_json(facts | {"settings": {"objective": SETTINGS[objective]}}, path)
    return path


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        record(tmp_path, "causal", 0, [1.0, 1.0, 1.0, 1.0, None]),
        record(tmp_path, "cft", 0, [1.0, 0.625, 0.25, 0.25, None]),
        record(tmp_path, "cft-learned", 0, [2.0, 1.0, 0.5, 0.5, None]),
        record(tmp_path, "cft-learned", 1, [2.2, 1.0, 0.4, 0.4, None]),
    ]


def test_weights_are_relative_to_their_mean_over_the_tokens(runs):
    found = token_weights(runs, BASES)
    assert found.groupby("objective")["token_weights"].first().to_dict() == {
        "causal": "equal",
        "cft": "linear",
        "cft-learned": "learned",
    }
    assert set(found["base"]) == {"causal"}
    learned = found[(found["objective"] == "cft-learned") & (found["seed"] == 0)]
    # The 30 tokens weigh 10 * 2 + 10 * 1 + 9 * 0.5 + 1 * 0.5 = 35.
    assert learned["weight"].tolist() == pytest.approx(np.array([2, 1, 0.5, 0.5]) * 30 / 35)
    assert learned["position"].tolist() == [1, 2, 3, 4]
    assert found.loc[found["objective"] == "causal", "weight"].tolist() == [1] * 4


def test_objectives_without_an_equal_counterpart_are_left_out(runs):
    assert set(token_weights(runs, {"cft": "causal"})["objective"]) == {"causal", "cft"}


def test_a_backbone_with_one_kind_of_weights_is_left_out(runs):
    alone = runs[0].as_posix().replace("/tiny/", "/large/")
    write_json(read_json(runs[0]), Path(alone))
    assert set(token_weights([*runs, Path(alone)], BASES)["backbone"]) == {"tiny"}


def test_table_and_figure(tmp_path, runs):
    measured = [
        metrics(tmp_path, llm("causal"), [1, 1, None, None]),
        metrics(tmp_path, llm("cft"), [1, 1, 1, None]),
        metrics(tmp_path, llm("cft-learned"), [1, None, None, None]),
        metrics(tmp_path, llm("plain"), [1, 1, 1, 1]),
    ]
    draws = Draws(resamples=20)
    weights = as_read(token_weights(runs, BASES))
    # What is compared with plain does not stand in this table.
    differences = as_read(gains(measured, {"plain": [], "causal": []}, draws))
    rows = table(as_read(accuracy(measured, draws)), weights, differences, Labels()).rows
    assert len(rows) == 3
    rows = rows.set_index("Weights")
    assert rows["Objective"].to_dict() == {
        "equal": "causal",
        "linear": "cft",
        "learned": "cft-learned",
    }
    assert rows["HR@5"].astype(float).to_dict() == {"equal": 0.5, "linear": 0.75, "learned": 0.25}
    assert rows.loc["equal", "Δ HR@5"] == "–"
    assert rows.loc["linear", "Δ HR@5"].startswith("+0.2500 [")
    assert rows.loc["learned", "Δ HR@5"].startswith("−0.2500 [")
    weights = rows["Weight of tokens 1, 2, 3, 5, 10"]
    assert weights["equal"] == "1.00 / 1.00 / 1.00 / – / –"
    # The mean of two seeds: 2 * 30 / 35 and 2.2 * 30 / 36.
    assert weights["learned"].startswith("1.77 / ")

    save(figure(as_read(token_weights(runs, BASES)), Labels()), tmp_path / "figure.pdf")
    assert (tmp_path / "figure.svg").read_text().count("<text") > 5
