"""The guides of docs/extending.md: their blocks, taken out of the page, are run as one study."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.numpy import load_file

from tests.small_language import make_small_backbone, write_language_data
from tests.test_workflow import CODE, ROOT, cells_of, planned, snakemake

PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
#: The files that the page shows whole, or begins.
FILES = dict(re.findall(r"^`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE))
TARGETS = ("table_accuracy", "table_ablation", "table_missed", "figure_missed")
#: Customer c buys the products c, c + 1, ..., c + 7 of twelve, in a circle, one a day.
CUSTOMERS, BOUGHT = 12, 8

pytestmark = pytest.mark.slow


def products(customer: int) -> list[str]:
    """Titles in the order in which a customer buys them."""
    return [f"Kettle {(customer + step) % CUSTOMERS:02}" for step in range(BOUGHT)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project in which the page's study has run."""
    folder = tmp_path_factory.mktemp("project")
    for name in (*CODE, "extensions"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    yaml = "\n".join(re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
    (folder / "my.yaml").write_text(yaml, encoding="utf-8")
    # The shop's files begin as the page has them; one customer more buys too little to count.
    rows = {"purchases": ["c99,00,2024-01-01", "c99,01,2024-01-01"]}
    for step in range(BOUGHT):
        for c in range(CUSTOMERS):
            day = date(2024, 1, 1) + timedelta(step * CUSTOMERS + c)
            rows["purchases"].append(f"c{c:02},{(c + step) % CUSTOMERS:02},{day}")
    rows["products"] = [f"{item:02},Kettle {item:02}" for item in range(CUSTOMERS)]
    for name, lines in rows.items():
        header = FILES[f"shop/{name}.csv"].splitlines()[0]
        (folder / f"shop/{name}.csv").write_text("\n".join([header, *lines]), encoding="utf-8")
    write_language_data(folder)
    (make_small_backbone(folder, "models/mine") / "backbone.json").unlink()
    snakemake(folder, *TARGETS, "--configfile", "my.yaml", "--config", "threads=1")
    return folder


def lists(project: Path, path: str) -> dict[int, list[int]]:
    """Items by example, best first."""
    frame = pd.read_parquet(project / f"results/mine/recommendations/shop/{path}.parquet")
    return {key: group["item_id"].tolist() for key, group in frame.groupby("example_id")}


def examples(project: Path) -> pd.DataFrame:
    """The test examples by their id."""
    path = project / "results/mine/data/shop/examples/test.parquet"
    return pd.read_parquet(path).set_index("example_id")


def table(project: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(project / f"results/mine/tables/{name}.csv")


def test_a_data_set_is_what_its_csv_says(project: Path) -> None:
    data = project / "results/mine/data/shop"
    facts = json.loads((data / "preparation.json").read_text(encoding="utf-8"))
    kept = [facts[name] for name in ("users", "items", "interactions")]
    assert kept == [CUSTOMERS, CUSTOMERS, CUSTOMERS * BOUGHT]
    titles = pd.read_parquet(data / "catalogue.parquet")["title"]
    last = examples(project).groupby("user").last()
    for user, example in last.iterrows():
        bought = [titles[item] for item in [*example["history"], example["target"]]]
        assert bought == products(int(user[1:]))


def test_a_backbone_is_the_one_of_the_folder(project: Path) -> None:
    model = project / "results/mine/models/shop/mine/plain/seed-0"
    backbone = json.loads((model / "run.json").read_text(encoding="utf-8"))["backbone"]
    weights = (project / "models/mine/model.safetensors").read_bytes()
    assert backbone["name"] == "mine"
    assert backbone["sha256"] == {"model.safetensors": hashlib.sha256(weights).hexdigest()}
    assert set(table(project, "ablation")["Backbone"]) == {"My model"}


def test_an_objective_is_the_function_of_the_page(project: Path) -> None:
    found: dict = {}
    exec(FILES["extensions/margin.py"], found)
    # The history makes them 3/4 and 1/4 likely instead of a half: log 3/2 more, log 2 less.
    logits = torch.tensor([[np.log(3), 0.0], [np.log(3), 0.0]])
    losses = found["causal_losses"](logits, torch.zeros(2, 2), torch.tensor([0, 1]))
    assert losses.tolist() == pytest.approx([1 - np.log(1.5), 1 + np.log(2)])
    # An untrained model gains nothing from the history: each token loses the margin, at alpha 0.5.
    first = []
    for name in ("plain", "margin"):
        curves = pd.read_csv(project / f"results/mine/models/shop/mine/{name}/seed-0/curves.csv")
        first.append(curves.loc[curves["split"] == "train", "loss"].iloc[0])
    assert first[1] - first[0] == pytest.approx(0.5, abs=0.05)


def test_a_decoder_puts_what_was_seen_last(project: Path) -> None:
    plain = lists(project, "mine/plain/seed-0/constrained/with")
    histories = examples(project)["history"]
    expected = {
        example: sorted(items, key=lambda item, example=example: item in histories[example])
        for example, items in plain.items()
    }
    assert lists(project, "mine/plain/seed-0/unseen/with") == expected != plain


def test_a_baseline_ranks_by_its_network(project: Path) -> None:
    model = project / "results/mine/models/shop/baselines/mean/seed-0.safetensors"
    items = load_file(model)["items.weight"].astype(float)
    train = pd.read_parquet(project / "results/mine/data/shop/examples/train.parquet")
    longest = train["history"].str.len().max()
    for example, found in lists(project, "baselines/mean/seed-0").items():
        history = examples(project).loc[example, "history"][-longest:]
        scores = items @ items[history].mean(axis=0)
        assert found == np.argsort(-scores).tolist()
    assert "Mean of the history" in set(table(project, "accuracy")["Method"])


def test_an_output_shows_its_analysis(project: Path) -> None:
    targets = examples(project)["target"]
    shown = table(project, "missed").set_index(["objective", "decoder"])["share"]
    labels = {"constrained": "constrained", "unseen": "seen titles last"}
    assert len(shown) == 4
    for objective in ("plain", "margin"):
        for decoder, label in labels.items():
            listed = lists(project, f"mine/{objective}/seed-0/{decoder}/with")
            missed = np.mean([targets[example] not in items for example, items in listed.items()])
            assert shown[objective, label] == pytest.approx(missed, abs=1e-4)
    for ending in ("pdf", "svg"):
        assert (project / f"results/mine/figures/missed.{ending}").stat().st_size


def test_a_changed_function_reruns_what_stands_on_it(project: Path) -> None:
    for name, old, new in (
        ("margin", "MARGIN = 1.0", "MARGIN = 2.0"),
        ("missed", "COLUMN, 1.5", "COLUMN, 2.5"),
    ):
        path = project / f"extensions/{name}.py"
        path.write_text(FILES[f"extensions/{name}.py"].replace(old, new), encoding="utf-8")
    jobs = planned(project, "--nolock", *TARGETS, config="my.yaml")
    assert "figure_missed" in jobs
    assert all("margin" in job for job in cells_of(jobs))
    assert Counter(job.split()[0] for job in cells_of(jobs)) == {
        "finetune": 1,
        "recommend": 2,
        "per_example": 2,
    }
