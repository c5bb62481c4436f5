"""Cost and curves: what is gathered from the stages' own records."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scripts.analyse.cost import cost
from scripts.analyse.curves import curves
from scripts.cells import cell_path, model_path
from scripts.files import read_csv, write_csv, write_json
from tests.tiny_study import llm


def test_cost_is_relative_to_the_base_with_the_same_seed(tmp_path: Path) -> None:
    models, decodings = [], []
    for objective, seed, step in (("plain", 0, 1.0), ("plain", 1, 2.0), ("cft", 1, 5.0)):
        path = tmp_path / "models" / model_path("toy", "tiny", objective, seed) / "run.json"
        write_json({"seconds_per_step": step, "seconds": 10.0, "train_examples": 64}, path)
        models.append(path)
        path = tmp_path / f"{cell_path(llm(objective, seed))}.json"
        write_json({"examples": 8, "prompts": 4, "seconds": 2.0 * step, "device": "cpu"}, path)
        decodings.append(path)
    cost(models, decodings, tmp_path / "out.csv")
    found = read_csv(tmp_path / "out.csv").set_index(["stage", "objective", "seed"])
    assert found.loc[("training", "cft", 1), "relative"] == 2.5
    assert found.loc[("training", "plain", 0), "relative"] == 1
    assert np.isnan(found.loc[("training", "cft", 1), "seconds_per_prompt"])
    assert found.loc[("decoding", "cft", 1), "relative"] == 2.5
    assert found.loc[("decoding", "cft", 1), "seconds_per_prompt"] == 2.5
    assert found.loc[("training", "cft", 1), "examples"] == 64


def test_more_work_than_cores_is_told(tmp_path: Path) -> None:
    """Two processes on two cores, and the workflow's own now and then, do not wait long."""
    models = []
    for seed, load in enumerate((1.0, 2.9, 3.1, None)):
        models.append(tmp_path / "models" / model_path("toy", "tiny", "plain", seed) / "run.json")
        write_json({"seconds_per_step": 1.0, "load_average": load, "cores": 2}, models[-1])
    cost(models, [], tmp_path / "out.csv")
    assert read_csv(tmp_path / "out.csv")["crowded"].tolist() == [False, False, True, False]


def test_times_of_two_devices_have_no_ratio(tmp_path: Path) -> None:
    models = []
    for objective, device in (("plain", "CPU"), ("cft", "a GPU"), ("causal", "CPU")):
        models.append(tmp_path / "models" / model_path("toy", "tiny", objective, 0) / "run.json")
        write_json({"seconds_per_step": 1.0, "seconds": 10.0, "device": device}, models[-1])
    cost(models, [], tmp_path / "out.csv")
    found = read_csv(tmp_path / "out.csv").set_index("objective")["relative"]
    assert np.isnan(found["cft"])
    assert found["causal"] == found["plain"] == 1


def test_curves_are_concatenated(tmp_path: Path) -> None:
    paths = []
    for seed in (0, 1):
        paths.append(tmp_path / model_path("toy", "tiny", "cft", seed) / "curves.csv")
        write_csv(pd.DataFrame({"step": [1, 2], "loss": [3.0 + seed, 2.0]}), paths[-1])
    curves(paths, tmp_path / "out.csv")
    found = read_csv(tmp_path / "out.csv")
    assert list(found.columns) == ["dataset", "backbone", "objective", "seed", "step", "loss"]
    assert found["loss"].tolist() == pytest.approx([3, 2, 4, 2])
    assert found["seed"].tolist() == [0, 0, 1, 1]
