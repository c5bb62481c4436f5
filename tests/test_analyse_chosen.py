"""What was chosen for the models, from run records, and the table and the feet that tell it."""

from pathlib import Path

import pytest

from scripts.analyse.chosen import CONFIG, VALIDATION_LOSS, VALIDATION_NDCG, chosen
from scripts.cells import cell_path, model_path
from scripts.files import read_csv, write_json
from scripts.labels import Labels
from scripts.tables.chosen import chosen as table
from scripts.tables.format import choices
from tests.tiny_study import llm


@pytest.fixture
def found(tmp_path: Path) -> Path:
    models, decodings = [], []
    for objective, seed, best in (("plain", 0, 1), ("cft", 0, 3), ("cft", 1, 2)):
        cell = llm(objective, seed, decoder="assisted")
        run = tmp_path / "models" / model_path(*cell[:4]) / "run.json"
        beta = 0.25 if objective == "cft" else 1.0
        settings = {"objective": {"schedule": "linear", "beta": beta}, "training": {"epochs": 5}}
        epochs = {"best_epoch": best, "epochs_run": best + 1, "valid_examples": 40}
        weights = {"alpha": 0.1 if objective == "cft" else 0.0, "beta": beta}
        write_json({"settings": settings} | epochs | weights, run)
        models.append(run)
        record = tmp_path / "recommendations" / f"{cell_path(cell)}.json"
        notes = {"g": 0.5 if seed else 0.75, "tune_examples": 30}
        write_json(notes | {"validation_ndcg": {"0.5": 0.2, "0.75": 0.3}}, record)
        decodings.append(record)
    plain = tmp_path / "recommendations" / f"{cell_path(llm())}.json"
    write_json({"examples": 4}, plain)
    chosen(models, [*decodings, plain], tmp_path / "chosen.csv")
    return tmp_path / "chosen.csv"


def test_what_is_recorded(found: Path) -> None:
    frame = read_csv(found)
    cft = frame[(frame["objective"] == "cft") & (frame["seed"] == 1)].set_index("setting")
    assert cft["value"].to_dict() == {
        **{"alpha": "0.1", "beta": "0.25", "schedule": "linear", "epoch": "2", "g": "0.5"}
    }
    assert cft["rule"].to_dict() == {
        **dict.fromkeys(["alpha", "beta", "schedule"], CONFIG),
        "epoch": VALIDATION_LOSS,
        "g": VALIDATION_NDCG,
    }
    assert cft["examples"].dropna().to_dict() == {"epoch": 40, "g": 30}
    assert cft["candidates"].dropna().to_dict() == {"epoch": "1 to 3", "g": "0.5, 0.75"}
    assert cft["decoder"].dropna().to_dict() == {"g": "assisted"}


def test_table_and_foot(tmp_path: Path, found: Path) -> None:
    table(found, Labels(datasets={"toy": "Toy"}), tmp_path / "t.csv")
    shown = read_csv(tmp_path / "t.csv")
    assert shown["Objective"].tolist() == ["plain", "cft"]
    cft = shown.iloc[1]
    assert (cft["α"], cft["β"], cft["Token weights"]) == (0.1, 0.25, "linear")
    assert cft["Epoch"] == "3, 2 of 1 to 4 / 1 to 3 (40 examples)"
    assert cft["g"] == "assisted 0.75, 0.5 of 0.5, 0.75 (30 examples)"
    assert choices(found) == (
        "Settings. plain α 0, β 1; cft α 0.1, β 0.25: set in the config before training. "
        "epoch 1, 2, 3: lowest loss on validation examples (40). "
        "g 0.5, 0.75: highest NDCG@10 on validation examples (30). "
        "Nothing was chosen on the test split."
    )
    assert choices(None) == ""
