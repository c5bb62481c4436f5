"""Which tables and figures a study has, against what stands in its configuration."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from scripts.analyse.claimed import CLAIMS, GRID_SEEDS
from scripts.command import step_of
from scripts.study import outputs
from scripts.study.cells import compared_objectives, equal_weight_bases, experiment_cells
from scripts.study.config import load, resolve
from scripts.study.outputs import Output
from scripts.study.schema import Study
from tests.test_study_config import SHIPPED, SMALL, TUNING

ROOT = Path(__file__).resolve().parent.parent
ALWAYS_TABLES = {
    *("statistics", "accuracy", "cutoffs", "choices", "ablation", "balance", "concentration"),
    *("cost", "claims", "summary"),
}
ALWAYS_FIGURES = {"data", "accuracy", "balance", "positions", "curves", "cost"}
BY_NAME = {output.name: output for output in outputs.OUTPUTS}


def names(found: list[Output]) -> set[str]:
    return {output.name for output in found}


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


def with_tuning(config: dict[str, Any]) -> None:
    config["tuning"] = [TUNING, TUNING | {"objective": "plain", "alpha": [], "beta": [0.5, 1]}]


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
        (with_causal, TABLES | {"token_weights"}, FIGURES | {"token_weights"}),
        (lambda c: (with_causal(c), with_tuning(c)), TABLES | {"tuning"}, FIGURES),
        (lambda c: c.update(tuning=[TUNING]), TABLES, FIGURES),
        (with_backbone, TABLES | {"backbones"}, FIGURES),
        (with_movies, TABLES | {"beyond_amazon"}, FIGURES),
    ],
)
def test_a_study_shows_what_it_compares(
    change: Callable[[dict[str, Any]], object], tables: set[str], figures: set[str]
) -> None:
    study = changed(change)
    assert names(outputs.tables(study)) == ALWAYS_TABLES | tables
    assert names(outputs.figures(study)) == ALWAYS_FIGURES | figures


def test_models_are_uploaded_only_where_an_owner_is_named() -> None:
    assert outputs.pushed(changed(lambda config: None)) == []
    models = outputs.pushed(changed(lambda config: config.update(push_to_hub="someone")))
    assert models[0] == "hub/x/tiny/plain/seed-0.json"
    assert (
        len(models) == len(set(models)) == 4 + 1
    )  # Two objectives and seeds on x, one model on y.


def test_the_papers_study_has_every_table_and_figure_but_that_of_tunings() -> None:
    study = shipped("config")
    every = [output for output in outputs.OUTPUTS if output.name != "tuning"]
    assert outputs.tables(study) == [output for output in every if output.table]
    assert outputs.figures(study) == [output for output in every if output.figure]


def test_the_quickstart_leaves_out_what_one_small_set_cannot_show() -> None:
    paper, quick = shipped("config"), shipped("quickstart")
    out = {"beyond_amazon", "history_length", "sensitivity"}
    assert names(outputs.tables(paper)) - names(outputs.tables(quick)) == out
    out = {"history_length", "sensitivity"}
    assert names(outputs.figures(paper)) - names(outputs.figures(quick)) == out


@pytest.mark.parametrize("output", outputs.OUTPUTS, ids=lambda output: output.name)
def test_every_output_has_its_steps_and_they_take_what_it_gives(output: Output) -> None:
    """With every study that is shipped; analyses that are read are made."""
    if output.table:
        taken = {*output.table, *output.table_options, "labels"} - {"provenance"}
        assert set(signature(step_of("scripts.tables", [output.name])).parameters) == taken
        assert all(BY_NAME[analysis].reads for analysis in output.table)
    if output.figure:
        taken = {"values", "labels", *output.figure_options}
        assert set(signature(step_of("scripts.figures", [output.name])).parameters) == taken
        assert output.reads
    if output.reads:
        analysis = signature(step_of("scripts.analyse", [output.name])).parameters
        needed = {name for name, one in analysis.items() if one.default is one.empty}
        assert needed <= {*output.reads, *output.settings} <= set(analysis)
        for study in map(shipped, SHIPPED):
            files = [path for paths in output.reads.values() for path in paths(study)]
            assert len(files) == len(set(files))
            assert files or not output.when(study)
            json.dumps([value(study) for value in output.settings.values()])


def test_claims_are_judged_by_the_analyses_of_the_study() -> None:
    def analyses(study: Study) -> set[str]:
        return {Path(path).stem for path in BY_NAME["claims"].reads["analyses"](study)}

    always = {"headline", "balance", "positions", "cost", "dependence"}
    assert analyses(changed(only_plain)) == always
    more = {"gains", "sensitivity", "history_length"}
    assert analyses(changed(with_lengths)) == always | more


def test_the_whole_is_compared_with_its_parts_and_weights_with_equal_ones() -> None:
    assert compared_objectives(changed()) == {"plain": []}
    assert equal_weight_bases(changed()) == {}
    study = changed(with_causal)
    # Weighted has the weights that plain lacks; cft and cft-learned those that causal lacks.
    bases = {"weighted": "plain", "cft": "causal", "cft-learned": "causal"}
    assert equal_weight_bases(study) == bases
    compared = {"weighted": ["cft"], "causal": ["cft", "cft-learned"], "cft": ["cft-learned"]}
    assert compared_objectives(study) == {"plain": [], **compared}
    assert BY_NAME["gains"].settings == {"objectives": compared_objectives}


def test_labels_that_are_alike_bear_their_names() -> None:
    labels = outputs.labels(changed(with_backbone))
    assert labels["backbones"] == {"tiny": "Tiny (tiny)", "other": "Tiny (other)"}
    assert labels["decoders"] == {"grounded": "grounded", "constrained": "constrained"}


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("backbones", ["tiny", "other"]),
        ("decoders", ["grounded", "constrained"]),
        ("seeds", [0, 1]),
    ],
)
def test_token_weights_are_compared_where_nothing_else_differs(key: str, values: list) -> None:
    def apart(config: dict[str, Any]) -> None:
        with_backbone(config)
        first = config["experiments"][0]
        config["experiments"] = [
            first | {key: values[:1], "objectives": ["plain", "cft"]},
            first | {key: values[1:], "objectives": ["plain", "causal"]},
        ]

    assert "token_weights" not in names(outputs.tables(changed(apart)))
    assert "token_weights" not in names(outputs.figures(changed(apart)))


@pytest.mark.parametrize("name", [name for name in SHIPPED if name != "smoke"])
def test_shipped_studies_have_the_seeds_that_their_claims_need(name: str) -> None:
    """Three seeds of plain and cft behind both primary claims, on every data set of the headline;
    grids and lengths have as many, or their claims are not listed (`Claim.least_seeds`)."""
    study = shipped(name)
    claims = BY_NAME["claims"].settings
    backbone = study.experiments[0].backbones[0]
    seeds: dict[tuple[str, str, str], set[int]] = {}
    for cell in experiment_cells(study):
        if cell.backbone == backbone and cell.history == "with":
            seeds.setdefault((cell.dataset, cell.decoder, cell.objective), set()).add(cell.seed)
    for dataset in claims["headline"](study):
        for decoder in claims["primary"](study):
            both = [seeds[dataset, decoder, objective] for objective in ("plain", "cft")]
            assert len(set.intersection(*both)) >= GRID_SEEDS
    listed = {claim.analysis: claim.least_seeds for claim in CLAIMS if claim.least_seeds > 1}
    assert listed == dict.fromkeys(["sensitivity", "history_length"], GRID_SEEDS)
