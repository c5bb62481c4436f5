"""How the settings of models came about, from run records; the table and the feet that tell it."""

from pathlib import Path

import pandas as pd
import pytest

from scripts.analyse.choices import CONFIG, SUBSAMPLE, VALIDATION_LOSS, VALIDATION_NDCG, choices
from scripts.analyse.provenance import provenance
from scripts.command import InputError
from scripts.files import read_csv, read_json, write_csv, write_json
from scripts.labels import Labels
from scripts.tables.choices import choices as table
from scripts.tables.format import Table, write
from tests.tiny_study import as_read, llm


@pytest.fixture
def found(tmp_path: Path) -> pd.DataFrame:
    runs, decodings = [], []
    for objective, seed, best in (("plain", 0, 1), ("cft", 0, 3), ("cft", 1, 2)):
        cell = llm(objective, seed, decoder="assisted")
        run = tmp_path / "models" / cell.model / "run.json"
        beta = 0.25 if objective == "cft" else 1.0
        settings = {"objective": {"token_weights": "linear", "beta": beta}}
        settings["training"] = {"epochs": 5, "train_examples": 60 if objective == "cft" else 90}
        epochs = {"best_epoch": best, "epochs_run": best + 1, "valid_examples": 40}
        epochs["train_examples"] = 60
        settings["training"]["learning_rate"] = 1e-3
        if seed:
            epochs["tuned"] = {"candidates": {"alpha": [0.02, 0.1]}, "examples": 50}
        weights = {"alpha": 0.1 if objective == "cft" else 0.0, "beta": beta}
        write_json({"settings": settings} | epochs | weights, run)
        runs.append(run)
        record = tmp_path / "recommendations" / f"{cell.path}.json"
        notes = {"g": 0.5 if seed else 0.75, "tune_examples": 30}
        write_json(notes | {"validation_ndcg": {"0.5": 0.2, "0.75": 0.3}}, record)
        decodings.append(record)
    plain = tmp_path / "recommendations" / f"{llm().path}.json"
    write_json({"examples": 4}, plain)
    return as_read(choices(runs, [*decodings, plain]))


def test_what_is_recorded(found: pd.DataFrame) -> None:
    cft = found[(found["objective"] == "cft") & (found["seed"] == 1)].set_index("setting")
    assert cft["value"].to_dict() == {
        **{"alpha": "0.1", "beta": "0.25", "token_weights": "linear", "epoch": "2", "g": "0.5"},
        **{"training examples": "60", "learning rate": "0.001"},
    }
    assert cft["rule"].to_dict() == {
        **dict.fromkeys(["beta", "token_weights", "learning rate"], CONFIG),
        "alpha": VALIDATION_NDCG,
        "training examples": SUBSAMPLE.format("toy"),
        "epoch": VALIDATION_LOSS,
        "g": VALIDATION_NDCG,
    }
    assert cft["examples"].dropna().to_dict() == {"alpha": 50, "epoch": 40, "g": 30}
    candidates = {"alpha": "0.02, 0.1", "epoch": "1 to 3", "g": "0.5, 0.75"}
    assert cft["candidates"].dropna().to_dict() == candidates
    assert cft.loc[cft["decoder"] != "", "decoder"].to_dict() == {"g": "assisted"}


def test_models_of_a_backbone_that_moved_stand_in_no_table(tmp_path: Path) -> None:
    runs = [tmp_path / f"toys/qwen/plain/seed-{seed}/run.json" for seed in (0, 1)]
    for run in runs:
        origin = {"commit": run.parent.name, "sha256": {"model.safetensors": run.parent.name}}
        settings = {"objective": {"token_weights": "linear", "beta": 1}}
        settings["training"] = {"epochs": 1, "train_examples": None, "learning_rate": 1e-3}
        facts = {"alpha": 0, "beta": 1, "best_epoch": 1, "train_examples": 9}
        write_json({"backbone": origin, "settings": settings} | facts, run)
    with pytest.raises(InputError, match=f"^{runs[1]}: .* other weights than in {runs[0]}; "):
        choices(runs, [])
    for run in runs:  # Scratch backbones differ from data set to data set.
        record = read_json(run)
        record["backbone"]["settings"] = {}
        write_json(record, run)
    assert len(choices(runs, [])) == 12


def test_table_and_foot(tmp_path: Path, found: pd.DataFrame) -> None:
    write(table(found, Labels(datasets={"toy": "Toy"})), None, tmp_path / "t.csv")
    shown = read_csv(tmp_path / "t.csv")
    assert shown["Objective"].tolist() == ["plain", "cft"]
    cft = shown.iloc[1]
    assert cft["α"] == "0.1 of 0.02, 0.1 (50 examples)"
    assert (cft["β"], cft["Token weights"], cft["Learning rate"]) == (0.25, "linear", 0.001)
    assert cft["Training examples"] == 60
    assert cft["Epoch"] == "3, 2 of 1 to 4 / 1 to 3 (40 examples)"
    assert cft["g"] == "assisted 0.75, 0.5 of 0.5, 0.75 (30 examples)"
    write_csv(found, tmp_path / "choices.csv")
    for devices, words in (["a GPU", None, "a CPU"], "a CPU, a GPU"), ([None], "–"):
        write_csv(pd.DataFrame({"device": devices}), tmp_path / "cost.csv")
        foot = as_read(provenance(tmp_path / "cost.csv", tmp_path / "choices.csv"))
        write(Table(pd.DataFrame({"a": ["1"]}), [], left=1), foot, tmp_path / "t.csv")
        assert (tmp_path / "t.md").read_text().splitlines()[-1] == (
            f"Device: {words}. "
            "Settings. plain α 0, β 1; cft α 0.1, β 0.25: set in the config before training. "
            "epoch 1, 2, 3: lowest loss on validation examples (40). training examples 60: "
            "a random sub-sample of the training split of toy, drawn by the seed. "
            "cft α 0.1: highest NDCG@10 on validation examples (50). "
            "g 0.5, 0.75: highest NDCG@10 on validation examples (30). "
            "Nothing was chosen on the test split."
        )
