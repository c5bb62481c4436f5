"""The guides of docs/extending.md: their blocks, taken out of the page, are run as one study."""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from scripts.files import read_json
from scripts.report import report
from scripts.study.config import load
from tests.small_language import make_small_backbone, write_language_data
from tests.test_workflow import CODE, ROOT, cells_of, planned, rules_of, snakemake

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"```python\n# extensions/(\w+)\.py\n(.*?)```", PAGE, re.DOTALL))
STUDY = "\n".join(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
#: As the page says which files begin.
HEADERS = re.findall(r"`(shop/\w+\.csv)` with\s+`([\w,]+)`", PAGE)
TARGETS = ("table_accuracy", "table_ablation", "table_missed", "figure_missed")
#: Customer c buys the products c, c + 1, ..., c + 7 of twelve, in a circle, one a day.
CUSTOMERS, BOUGHT = 12, 8

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the page's study has run."""
    folder = tmp_path_factory.mktemp("project")
    for name in (*CODE, "extensions"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for name, text in MODULES.items():
        (folder / f"extensions/{name}.py").write_text(text, encoding="utf-8")
    (folder / "my.yaml").write_text(STUDY, encoding="utf-8")
    bought = [
        f"c{c:02},{(c + step) % CUSTOMERS:02},{date(2024, 1, 1) + timedelta(step * CUSTOMERS + c)}"
        for step in range(BOUGHT)
        for c in range(CUSTOMERS)
    ]
    # One customer more buys too little to count.
    bought += ["c99,00,2024-01-01", "c99,01,2024-01-01"]
    rows = [bought, [f"{item:02},Kettle {item:02}" for item in range(CUSTOMERS)]]
    (folder / "shop").mkdir()
    for (name, header), lines in zip(HEADERS, rows, strict=True):
        (folder / name).write_text("\n".join([header, *lines]), encoding="utf-8")
    write_language_data(folder)
    (make_small_backbone(folder, "models/mine") / "backbone.json").unlink()
    snakemake(folder, *TARGETS, "--configfile", "my.yaml", "--config", "threads=1")
    return folder


@pytest.fixture
def results(project: Path) -> Path:
    return project / "results" / "mine"


def lists(results: Path, path: str) -> dict[int, list[int]]:
    """Items by example, best first."""
    frame = pd.read_parquet(results / f"recommendations/shop/{path}.parquet")
    return {key: group["item_id"].tolist() for key, group in frame.groupby("example_id")}


def examples(results: Path, split: str = "test") -> pd.DataFrame:
    """Examples by their id."""
    path = results / f"data/shop/examples/{split}.parquet"
    return pd.read_parquet(path).set_index("example_id")


def test_a_data_set_is_what_its_csv_says(results: Path) -> None:
    facts = read_json(results / "data/shop/preparation.json")
    kept = [facts[name] for name in ("users", "items", "interactions")]
    assert kept == [CUSTOMERS, CUSTOMERS, CUSTOMERS * BOUGHT]
    titles = pd.read_parquet(results / "data/shop/catalogue.parquet")["title"]
    for user, example in examples(results).groupby("user").last().iterrows():
        shown = [titles[item] for item in [*example["history"], example["target"]]]
        first = int(user[1:])
        assert shown == [f"Kettle {(first + step) % CUSTOMERS:02}" for step in range(BOUGHT)]


def test_a_backbone_is_the_one_of_the_folder(project: Path, results: Path) -> None:
    backbone = read_json(results / "models/shop/mine/plain/seed-0/run.json")["backbone"]
    weights = (project / "models/mine/model.safetensors").read_bytes()
    assert backbone["sha256"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert set(pd.read_csv(results / "tables/ablation.csv")["Backbone"]) == {"My model"}


def test_an_objective_is_the_function_of_the_page(results: Path) -> None:
    found: dict = {}
    exec(MODULES["margin"], found)
    # The history makes them 3/4 and 1/4 likely instead of a half: log 3/2 more, log 2 less.
    logits = torch.tensor([[np.log(3), 0.0], [np.log(3), 0.0]])
    losses = found["causal_losses"](logits, torch.zeros(2, 2), torch.tensor([0, 1]))
    assert losses.tolist() == pytest.approx([1 - np.log(1.5), 1 + np.log(2)])
    # An untrained model gains nothing from the history: each token loses the margin, at alpha 0.5.
    first = {}
    for name in ("plain", "margin"):
        curves = pd.read_csv(results / f"models/shop/mine/{name}/seed-0/curves.csv")
        first[name] = curves.query("split == 'train'")["loss"].iloc[0]
    assert first["margin"] - first["plain"] == pytest.approx(0.5, abs=0.05)


def test_a_decoder_puts_what_was_seen_last(results: Path) -> None:
    plain = lists(results, "mine/plain/seed-0/constrained/with")
    expected = {
        example: sorted(plain[example], key=history.tolist().__contains__)
        for example, history in examples(results)["history"].items()
    }
    assert lists(results, "mine/plain/seed-0/unseen/with") == expected != plain


def test_a_baseline_ranks_by_its_network(results: Path) -> None:
    model = results / "models/shop/baselines/mean/seed-0.safetensors"
    items = load_file(model)["items.weight"].astype(float)
    longest = examples(results, "train")["history"].str.len().max()
    histories = examples(results)["history"]
    for example, found in lists(results, "baselines/mean/seed-0").items():
        scores = items @ items[histories[example][-longest:]].mean(axis=0)
        assert found == np.argsort(-scores).tolist()
    assert "Mean of the history" in set(pd.read_csv(results / "tables/accuracy.csv")["Method"])


def test_an_output_shows_its_analysis(results: Path, tmp_path: Path, monkeypatch) -> None:
    targets = examples(results)["target"]
    shown = pd.read_csv(results / "tables/missed.csv").set_index(["objective", "decoder"])["share"]
    assert len(shown) == 4
    for decoder, label in {"constrained": "constrained", "unseen": "seen titles last"}.items():
        for objective in ("plain", "margin"):
            listed = lists(results, f"mine/{objective}/seed-0/{decoder}/with")
            missed = np.mean([targets[example] not in items for example, items in listed.items()])
            assert shown[objective, label] == pytest.approx(missed, abs=1e-4)
    module = ModuleType("missed")
    exec(MODULES["missed"], module.__dict__)
    monkeypatch.setitem(sys.modules, "extensions.missed", module)
    files = [[results / "tables/missed.json"], [results / "figures/missed.svg"]]
    study = load(ROOT / "config/smoke.yaml").model_dump(mode="json") | {"outputs": ["missed"]}
    report(study, *files, tmp_path, [], [], [], 5, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in ("What is missed?", "target is not in the list.", "The same, drawn.", "Lower is"):
        assert text in page


def test_a_changed_function_reruns_what_stands_on_it(project: Path) -> None:
    changed = MODULES["margin"].replace("MARGIN = 1.0", "MARGIN = 2.0")
    (project / "extensions/margin.py").write_text(changed, encoding="utf-8")
    jobs = planned(project, "--nolock", *TARGETS, config="my.yaml")
    assert {"finetune", "recommend"} <= rules_of(jobs)
    assert all("margin" in job for job in cells_of(jobs))
