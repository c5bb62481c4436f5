"""Cost and curves: what is gathered from the steps' own records."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.cost import cost
from scripts.analyse.curves import curves
from scripts.files import write_csv, write_json
from tests.tiny_study import llm


def test_cost_is_relative_to_the_base_with_the_same_seed(tmp_path: Path) -> None:
    runs, decodings = [], []
    for objective, seed, step in (("plain", 0, 1.0), ("plain", 1, 2.0), ("cft", 1, 5.0)):
        path = tmp_path / "models" / llm(objective, seed).model / "run.json"
        write_json({"seconds_per_step": step, "seconds": 10.0, "train_examples": 64}, path)
        runs.append(path)
        path = tmp_path / f"{llm(objective, seed).path}.json"
        write_json({"examples": 8, "prompts": 4, "seconds": 2.0 * step, "device": "cpu"}, path)
        decodings.append(path)
    found = cost(runs, decodings).set_index(["phase", "objective", "seed"])
    assert found.loc[("training", "cft", 1), "relative"] == 2.5
    assert found.loc[("training", "plain", 0), "relative"] == 1
    assert np.isnan(found.loc[("training", "cft", 1), "seconds_per_prompt"])
    assert found.loc[("decoding", "cft", 1), "relative"] == 2.5
    assert found.loc[("decoding", "cft", 1), "seconds_per_prompt"] == 2.5
    assert found.loc[("training", "cft", 1), "examples"] == 64


def test_more_work_than_cores_is_told(tmp_path: Path) -> None:
    """Two processes on two cores, and the workflow's own now and then, do not wait long."""
    runs = []
    for seed, load in enumerate((1.0, 2.9, 3.1, None)):
        runs.append(tmp_path / "models" / llm("plain", seed).model / "run.json")
        write_json({"seconds_per_step": 1.0, "load_average": load, "cores": 2}, runs[-1])
    assert cost(runs, [])["crowded"].tolist() == [False, False, True, False]


def test_times_of_two_devices_have_no_ratio(tmp_path: Path) -> None:
    runs = []
    for objective, device in (("plain", "CPU"), ("cft", "a GPU"), ("causal", "CPU")):
        runs.append(tmp_path / "models" / llm(objective).model / "run.json")
        write_json({"seconds_per_step": 1.0, "seconds": 10.0, "device": device}, runs[-1])
    found = cost(runs, []).set_index("objective")["relative"]
    assert np.isnan(found["cft"])
    assert found["causal"] == found["plain"] == 1


def test_curves_are_concatenated(tmp_path: Path) -> None:
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / llm("cft", seed).model / "curves.csv")
        write_csv(pd.DataFrame({"step": [1, 2], "loss": [3.0 + seed, 2.0]}), paths[-1])
    found = curves(paths)
    assert list(found.columns) == ["dataset", "backbone", "objective", "seed", "step", "loss"]
    assert found["loss"].tolist() == pytest.approx([3, 2, 4, 2])
    assert found["seed"].tolist() == [0, 0, 1, 1]
