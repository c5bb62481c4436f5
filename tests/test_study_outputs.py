"""Which tables and figures a study has, against what stands in its configuration."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.study import outputs
from scripts.study.config import Study, load, resolve
from tests.test_study_config import SHIPPED, SMALL

ROOT = Path(__file__).resolve().parent.parent
ALWAYS_TABLES = {
    *("statistics", "accuracy", "cutoffs", "chosen", "ablation", "balance", "concentration"),
    *("cost", "claims"),
}
ALWAYS_FIGURES = {"data", "accuracy", "balance", "positions", "curves", "cost"}


def shipped(name: str) -> Study:
    return load(ROOT / "config" / f"{name}.yaml")


def changed(change: Callable[[dict[str, Any]], object] = lambda config: None) -> Study:
    config = copy.deepcopy(SMALL)
    change(config)
    return resolve(config)


def only_plain(config: dict[str, Any]) -> None:
    for block in config["experiments"]:
        block["objectives"] = ["plain"]
    config.pop("sensitivity")
    config["methods"] = config["methods"][:1]


def only_with(config: dict[str, Any]) -> None:
    for block in config["experiments"]:
        block["histories"] = ["with"]


def with_lengths(config: dict[str, Any]) -> None:
    config["history_length"] = [{"backbone": "tiny", "dataset": "x", "lengths": [2, 10]}]


def with_search_error(config: dict[str, Any]) -> None:
    config["search_error"] = {"backbone": "tiny", "dataset": "x"}


def with_causal(config: dict[str, Any]) -> None:
    config["experiments"][0]["objectives"] += ["causal", "weighted", "cft-learned"]


def with_backbone(config: dict[str, Any]) -> None:
    config["backbones"]["other"] = config["backbones"]["tiny"]
    config["experiments"][0]["backbones"].append("other")


def with_movies(config: dict[str, Any]) -> None:
    config["datasets"]["y"]["source"] = {"kind": "movielens-zip", "archive": "https://a.example/z"}
    config["experiments"][1]["objectives"] = ["plain", "cft"]


TABLES = {"cases", "dependence", "sensitivity"}
FIGURES = {"gains", "strata", "dependence", "sensitivity"}


@pytest.mark.parametrize(
    ("change", "tables", "figures"),
    [
        (lambda config: None, TABLES, FIGURES),
        (only_plain, {"dependence"}, {"dependence"}),
        (only_with, TABLES - {"dependence"}, FIGURES - {"dependence"}),
        (lambda c: c.pop("sensitivity"), TABLES - {"sensitivity"}, FIGURES - {"sensitivity"}),
        (with_lengths, TABLES | {"history_length"}, FIGURES | {"history_length"}),
        (with_search_error, TABLES | {"search_error"}, FIGURES),
        (with_causal, TABLES | {"schedules"}, FIGURES | {"schedules"}),
        (with_backbone, TABLES | {"backbones"}, FIGURES),
        (with_movies, TABLES | {"beyond"}, FIGURES),
    ],
)
def test_a_study_shows_what_it_compares(
    change: Callable[[dict[str, Any]], object], tables: set[str], figures: set[str]
) -> None:
    study = changed(change)
    assert set(outputs.tables(study)) == ALWAYS_TABLES | tables
    assert set(outputs.figures(study)) == ALWAYS_FIGURES | figures


def test_the_papers_study_has_every_table_and_figure() -> None:
    study = shipped("config")
    for kind, found in (("tables", outputs.tables(study)), ("figures", outputs.figures(study))):
        captions = (ROOT / "workflow" / "report").glob(f"{kind[:-1]}_*.rst")
        assert {path.stem.split("_", 1)[1] for path in captions} == set(found)


def test_the_quickstart_leaves_out_what_one_small_set_cannot_show() -> None:
    paper, quick = shipped("config"), shipped("quickstart")
    out = {"beyond", "history_length"}
    assert set(outputs.tables(paper)) - set(outputs.tables(quick)) == out
    assert set(outputs.figures(paper)) - set(outputs.figures(quick)) == {"history_length"}


@pytest.mark.parametrize("name", SHIPPED)
def test_every_output_has_its_step_and_every_analysis_its_rule(name: str) -> None:
    study = shipped(name)
    rules = (ROOT / "workflow" / "rules" / "analyse.smk").read_text(encoding="utf-8")
    for table, analyses in outputs.tables(study).items():
        assert importlib.util.find_spec(f"scripts.tables.{table}")
        for analysis in analyses:
            assert f"\nrule {analysis.split('/')[0]}:" in rules
    for figure in outputs.figures(study):
        assert importlib.util.find_spec(f"scripts.figures.{figure}")


def test_claims_are_judged_by_the_analyses_of_the_study() -> None:
    always = {"headline", "gains", "balance", "positions", "cost"}
    assert set(outputs.claim_analyses(changed(only_plain))) == {*always, "dependence"}
    assert set(outputs.claim_analyses(changed(with_lengths))) == {
        *always,
        *("dependence", "sensitivity", "history_length"),
    }
    assert outputs.rivals(changed()) == {}
    study = changed(with_causal)
    assert outputs.rivals(study) == {"weighted": "cft", "causal": "cft", "cft": "cft-learned"}
    assert {f"gains_over/{base}" for base in outputs.rivals(study)} <= set(
        outputs.claim_analyses(study)
    )
    # Weighted has the weights that plain lacks; cft and cft-learned those that causal lacks.
    assert outputs.tables(study)["schedules"][2:4] == ["gains_over/causal", "gains_over/plain"]


def test_schedules_are_compared_on_one_backbone() -> None:
    def apart(config: dict[str, Any]) -> None:
        with_backbone(config)
        first = config["experiments"][0]
        config["experiments"] = [
            first | {"backbones": ["tiny"], "objectives": ["plain", "cft"]},
            first | {"backbones": ["other"], "objectives": ["plain", "causal"]},
        ]

    assert "schedules" not in outputs.tables(changed(apart))
    assert "schedules" not in outputs.figures(changed(apart))
