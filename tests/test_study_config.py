"""The configuration: every fault has one message, and the cells are those one counts by hand."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.cells import ALL, Cell, baseline_cell
from scripts.command import InputError
from scripts.files import read_yaml
from scripts.study import resources
from scripts.study.cells import (
    all_objectives,
    baseline_cells,
    beyond_amazon,
    case_cells,
    compared_beyond_amazon,
    compares_objectives,
    decodings,
    experiment_cells,
    history_length_cells,
    recut_datasets,
    sensitivity_cells,
    shared_datasets,
    training_of,
    tuned_by,
    tuning_cells,
)
from scripts.study.config import load, resolve
from scripts.study.document import document
from scripts.study.outputs import labels
from scripts.study.stages import stages

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ["config", "quickstart", "amazon-small", "findings", "smoke"]

SMALL: dict[str, Any] = {
    "study": "small",
    "datasets": {
        name: {
            "label": name,
            "source": {
                "kind": "amazon-2018",
                "reviews": f"https://a.example/{name}.json.gz",
                "metadata": f"{name}-meta.json",
            },
            "prompt": {"instruction": "Recommend.", "history": "Liked:"},
        }
        for name in ("x", "y")
    },
    "baselines": {
        "popular": {"kind": "most-popular"},
        "sasrec": {"kind": "sasrec"},
        "gru": {"kind": "gru4rec"},
    },
    "baseline_seeds": [0, 1, 2],
    "backbones": {"tiny": {"label": "Tiny", "source": {"kind": "scratch"}}},
    "decoders": {"grounded": {"kind": "grounded"}, "constrained": {"kind": "constrained"}},
    "experiments": [
        {
            **{"backbones": ["tiny"], "datasets": ["x"], "objectives": ["plain", "cft"]},
            **{"decoders": ["grounded", "constrained"], "seeds": [0, 1]},
        },
        {
            **{"backbones": ["tiny"], "datasets": ["x", "y"], "objectives": ["cft"]},
            **{"decoders": ["grounded"], "histories": ["with"], "seeds": [1]},
        },
    ],
    "sensitivity": [
        {"backbone": "tiny", "dataset": "x", "alpha": [0.02, 0.1], "beta": [0.5, 1], "seeds": [0]}
    ],
    "methods": [
        {"label": "A", "objective": "plain", "decoder": "grounded"},
        {"label": "B", "objective": "cft", "decoder": "grounded", "base": "A"},
    ],
}

TINY = {"backbone": "tiny", "dataset": "x"}


TUNING = {"backbone": "tiny", "datasets": ["x"], "objective": "causal", "alpha": [0.02, 0.3]}


def changed(key: str, value: Any) -> dict[str, Any]:
    """The small configuration with the value at a dotted key changed, or removed by `...`."""
    config = copy.deepcopy(SMALL)
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    node: Any = config
    for part in parents:
        node = node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return config


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("studdy", "x", ["studdy", "unknown key", "config/README.md"]),
        ("backbones.tiny.training", {"lr": 1}, ["backbones.tiny.training.lr: unknown key"]),
        ("backbones.tiny.source.width", 8, ["backbones.tiny.source.width: unknown key"]),
        ("experiments", ..., ["experiments: missing"]),
        ("backbones.tiny.source", {"kind": "hub"}, ["backbones.tiny.source.id: missing"]),
        ("threads", "many", ["threads", "found 'many'", "integer"]),
        ("device", "gpu", ["device", "found 'gpu'", "'auto', 'cpu' or 'cuda'"]),
        ("baseline_seeds", [-1], ["baseline_seeds.0", "found -1", "greater than or equal to 0"]),
        ("baseline_seeds", [], ["baseline_seeds", "at least 1 item"]),
        ("decoders.grounded.kind", "greedy", ["decoders.grounded", "'grounded-merged'"]),
        ("baselines.popular.kind", "gru", ["baselines.popular", "'gru4rec', 'caser', 'sasrec'"]),
        ("study", "a/b", ["study", "found 'a/b'", "match"]),
        ("threads", True, ["threads: found True; give a number"]),
        ("experiments.1.seeds", [True], ["experiments.1: seeds: found [True]; give a number"]),
        ("baseline_seeds", [0.5], ["baseline_seeds.0: found 0.5"]),
        ("backbones.tiny.training", {"learning_rate": math.inf}, ["learning_rate: found inf"]),
        ("objectives", {"a\n": {}}, ["objectives", "'a\\n' cannot be a name"]),
        ("datasets.x.label", "two\nlines", ["datasets.x.label: found 'two\\nlines'", "one line"]),
        ("backbones.tiny.label", None, ["backbones.tiny.label: is empty", "in quotes if"]),
        ("backbones.tiny.label", "", ["backbones.tiny.label: found ''"]),
        *(
            ("tuning", [TUNING | changes], words)
            for changes, words in [
                ({"objective": "c"}, ["tuning.0.objective: unknown objective 'c'"]),
                (
                    {"objective": "cft"},
                    ["tuning.0.objective: a sensitivity grid lies around 'cft'"],
                ),
                ({"alpha": []}, ["tuning.0: one point is no choice"]),
                ({"beta": [0.5], "objective": "cft-learned"}, ["tuning.0: a point", "beta 0.5"]),
            ]
        ),
        ("tuning", [TUNING, TUNING], ["tuning.1: tuning.0 chooses for this backbone"]),
        ("methods.1.label", "SASRec", ["1.label: 'SASRec' is the label of baselines.sasrec"]),
        ("datasets.x.source.metadata", "{b}", ["datasets.x.source.metadata: '{b}' has braces"]),
        ("datasets.a_b", SMALL["datasets"]["x"], ["datasets", "'a_b' cannot be a name"]),
        ("backbones.baselines", SMALL["backbones"]["tiny"], ["'baselines' cannot be a name"]),
        ("experiments.0.datasets", ["z"], ["experiments.0.datasets", "dataset 'z'", "x, y"]),
        ("experiments.1.backbones", ["big"], ["experiments.1.backbones", "'big'", "tiny"]),
        ("experiments.0.objectives", ["cf"], ["0.objectives", "'cf'", "plain, weighted, causal"]),
        ("experiments.0.decoders", ["beam"], ["decoder 'beam'", "grounded, constrained"]),
        ("experiments.0.histories", ["some"], ["0.histories.0", "'with', 'without', 'wrong' or"]),
        ("experiments.0.histories", ["wrong"], ["'wrong' is compared with 'with'", "add 'with'"]),
        ("sensitivity.0.objective", "c", ["sensitivity.0.objective", "objective 'c'"]),
        ("sensitivity.0.alpha", [-0.5], ["sensitivity.0.alpha.0: found -0.5; ", "equal to 0"]),
        ("sensitivity.0.beta", [0.5, 1.5], ["sensitivity.0.beta.1: found 1.5; ", "equal to 1"]),
        (
            "sensitivity",
            [TINY | {"objective": name, "alpha": [0.5]} for name in ("cft", "causal")],
            ["sensitivity: found the objectives causal, cft", "around the same one"],
        ),
        ("stage", 2, ["stage: found 2; stages of this study: 1"]),
        ("only", {"datasets": ["z"]}, ["only.datasets: unknown dataset 'z'; datasets of this"]),
        ("only", {"seeds": [0, 9]}, ["only.seeds: unknown seed 9; seeds of this study: 0, 1"]),
        ("only", {"datasets": ["y"], "seeds": [0]}, ["only: no experiment", "data sets", "seeds"]),
        (
            "experiments",
            [
                SMALL["experiments"][0] | {"stage": 2},
                SMALL["experiments"][1] | {"datasets": ["x"], "histories": ["without"]},
            ],
            ["experiments: the history 'without'", "x/tiny/cft/seed-1, grounded lacks", "stage 1"],
        ),
        ("search_error", TINY | {"dataset": "z"}, ["search_error.dataset: unknown dataset 'z'"]),
        (
            "decoders.guided",
            {"kind": "assisted", "assistant": "popular"},
            ["decoders.guided.assistant: 'popular' must be a baseline of kind gru4rec, caser"],
        ),
        *(
            ("history_length", [TINY | {"lengths": [5]} | changes], words)
            for changes, words in (
                ({"objectives": ["cf"]}, ["history_length.0.objectives: unknown objective 'cf'"]),
                ({"lengths": [5, 0]}, ["history_length.0.lengths.1", "found 0", "or equal to 1"]),
            )
        ),
        *(
            ("baselines.given", {"kind": "lists", "files": files}, [f"baselines.given{words}"])
            for files, words in (
                ({"z": {"with": "a.run"}}, ".files: unknown dataset 'z'; datasets of this study"),
                ({"x": {"without": "a.run"}}, ": files.x: the history 'with' is missing; add its"),
                ({"x": {"with": "a.run", "some": "b"}}, ".files.x.some"),
                ({"x": {"with": ""}}, ".files.x.with: '' must end in the name of a file"),
                ({}, ".files"),
            )
        ),
        ("methods.1.decoder", "d", ["methods.1.decoder", "decoder 'd'"]),
        ("methods.1.base", "C", ["methods.1.base", "unknown method 'C'", "A, B"]),
        ("datasets.x.preparation", {"start": "2018-11"}, ["start 2018-11 must lie before prep"]),
        ("datasets.x.preparation", {"start": "2018-13"}, ["datasets.x.preparation.start", "match"]),
        ("backbones.tiny.training", {"max_tokens": 2048}, ["must not exceed source.max_tokens"]),
        ("backbones.tiny.source.heads", 5, ["size 128 must be a multiple of 2 * heads (10)"]),
        ("baselines.sasrec.heads", 3, ["baselines.sasrec: heads 3 must divide hidden_size 64"]),
        ("datasets.y.source.reviews", "https://b.a/x.json.gz", ["a.example/x.json.gz", "//b.a/x"]),
        *(
            ("datasets.y.source.reviews", address, ["datasets.y.source.reviews: ", words])
            for address, words in (
                ("https://b.example/", "must end in the name of a file"),
                ("https://b.example/..", "must end in the name of a file"),
                ("x" * 300, "too long: 200 bytes"),
                ("a\nb", "'a\\nb' has braces or breaks"),
            )
        ),
        ("datasets.x.prompt.history", "\0", ["x.prompt.history: found '\\x00'; leave out"]),
        ("datasets.x.source.metadata", "\ud800", ["x.source.metadata: found '\\ud800'; leave out"]),
        ("datasets.x.label", "\u202e", ["datasets.x.label: found '\\u202e'", "one line"]),
        ("datasets.x.preparation", {"end": "٢٠١٨-11"}, ["x.preparation.end", "match"]),
        ("baselines", {101 * "b": {"kind": "most-popular"}}, ["baselines", "at most 100 letters"]),
        ("baseline_seeds", [2**32], ["baseline_seeds.0: found 4294967296", "less than 4294967296"]),
        (
            "backbones.tiny.training",
            {"epochs": 10**400},
            ["epochs: found 1000", "a smaller number"],
        ),
        ("threads", "x" * 100_000, ["threads: found 'xxx", "xxx...xxx", "a valid integer"]),
    ],
)
def test_a_fault_has_one_message(key, value, words):
    with pytest.raises(InputError) as caught:
        resolve(changed(key, value))
    heading, *faults = str(caught.value).splitlines()
    assert heading == "The configuration has faults:"
    assert len(faults) == 1
    assert faults[0].startswith((key.partition(".")[0], "'https://", "the URL"))
    for word in words:
        assert word in faults[0]


def test_all_faults_are_told_at_once():
    with pytest.raises(InputError) as caught:
        resolve(changed("threads", 0) | {"device": "gpu", "colour": "red"})
    assert len(str(caught.value).splitlines()) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("a: [", "cannot be read as YAML"),
        ("", "holds no keys"),
        ("study: x\nstudy: y", r".*the key 'study' stands twice.*line 2"),
        ("a: {b: 1, c: 2, b: 3}", r".*the key 'b' stands twice.*line 1"),
        ("study: {{name}}", r".*unhashable key.*line 1"),
        ("seeds: [0, 010]", r".*YAML reads 010 as another number.*line 1, column 12"),
        ("a:\n  1:30: x", r".*YAML reads 1:30 as another number; put it in quotes.*line 2"),
        ("study: x\n---\nstudy: y", r".*expected a single document"),
        ("study: Caf\xe9", "is no UTF-8 text"),
        ("a: 1\nb: 2018-13-01", r".*2018-13-01 cannot be read \(month must be in.*quotes.*line 2"),
        ("a: " + 5000 * "9", r".*9999 cannot be read.*line 1"),
        ("a: " + 3000 * "[", "cannot be read"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, text, words):
    if text is not None:
        (tmp_path / "c.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=f"(?s)c.yaml: {words}"):
        load(tmp_path / "c.yaml")


def test_what_an_alias_brings_may_be_replaced(tmp_path):
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nd: {e: &e {<<: *a, x: 4}}\nf: {<<: *e, y: 5}"
    (tmp_path / "c.yaml").write_text(text)
    found = read_yaml(tmp_path / "c.yaml")
    assert (found["b"], found["f"]) == ({"x": 3, "y": 2}, {"x": 4, "y": 5})


@pytest.mark.parametrize("value", ["2018", "0.3", "yes", "2018-01-01"])
def test_text_that_yaml_reads_as_something_else(value):
    read_as = yaml.safe_load(value)
    with pytest.raises(InputError, match=f"study: YAML reads {read_as} as no text; put it in quot"):
        resolve(SMALL | {"study": read_as})
    entries = {read_as: SMALL["backbones"]["tiny"]}
    with pytest.raises(InputError, match=rf"\nbackbones[^:]*: YAML reads {read_as} as no text"):
        resolve(SMALL | {"backbones": SMALL["backbones"] | entries})


def test_cells_counted_by_hand():
    study = resolve(SMALL)
    # 2 objectives x 2 seeds x 2 decoders x 2 histories; of the second block x is there already.
    cells = experiment_cells(study)
    assert len(cells) == len(set(cells)) == 16 + 1
    assert cells[0] == Cell("x", "tiny", "plain", 0, "grounded", "with")
    assert cells[-1].path == "y/tiny/cft/seed-1/grounded/with"
    # most-popular has no seed of its own: 2 sets x (1 + 2 x 3 seeds).
    assert [cell.path for cell in baseline_cells(study)] == [
        f"{dataset}/baselines/{rest}"
        for dataset in ("x", "y")
        for rest in ["popular/seed-0"]
        + [f"{name}/seed-{seed}" for name in ("sasrec", "gru") for seed in (0, 1, 2)]
    ]
    # Given lists are where they are given, with no seed of their own either.
    files = {"y": {"wrong": "b.run", "with": "a.run"}}
    study = resolve(changed("baselines.given", {"kind": "lists", "files": files}))
    cell = baseline_cell("y", "given", 0)
    found = [one for one in baseline_cells(study) if one.baseline == "given"]
    assert found == [cell, cell._replace(history="wrong")]


def test_cases_are_those_of_the_first_comparison():
    study = resolve(SMALL)
    found = [cell.path for cell in case_cells(study)]
    assert found == [
        "x/tiny/plain/seed-0/grounded/with",
        "x/tiny/cft/seed-0/grounded/with",
        "x/tiny/cft/seed-0/grounded/without",
        *(f"x/baselines/{name}/seed-0" for name in ("popular", "sasrec", "gru")),
    ]
    alone = SMALL | {"experiments": [SMALL["experiments"][0] | {"objectives": ["plain"]}]}
    assert case_cells(resolve(alone)) == []


def test_objectives_are_compared_with_plain_of_the_same_cell() -> None:
    block = SMALL["experiments"][0] | {"datasets": ["x"], "histories": ["with"]}

    def compares(*blocks: dict[str, Any]) -> bool:
        return compares_objectives(
            resolve(SMALL | {"experiments": [block | changes for changes in blocks]})
        )

    assert compares({"objectives": ["plain", "cft"]})
    assert compares({"objectives": ["plain"]}, {"objectives": ["cft"]})
    assert not compares({"objectives": ["plain"]})
    assert not compares({"objectives": ["causal", "cft"]})
    assert not compares({"objectives": ["plain"]}, {"objectives": ["cft"], "datasets": ["y"]})


def test_grid_points():
    study = resolve(SMALL)
    # alpha 0.1 is the centre, which is trained once, under its own name.
    grid = {cell.objective for cell in sensitivity_cells(study)}
    assert grid == {"cft", "cft-alpha0.02", "cft-beta0.5", "cft-beta1"}
    points = {n: (o.alpha, o.beta) for n, o in all_objectives(study).items()}
    assert points == {
        **{"plain": (0, 1), "weighted": (0, 0.25), "causal": (0.1, 1), "cft": (0.1, 0.25)},
        **{"cft-learned": (0.1, 1), "cft-alpha0.02": (0.02, 0.25)},
        **{"cft-beta0.5": (0.1, 0.5), "cft-beta1": (0.1, 1)},
    }
    assert {cell[-3:] for cell in sensitivity_cells(study)} == {("constrained", "with", "")}


def test_what_is_tried_before_settings_are_chosen():
    tuning = TUNING | {"learning_rate": [1e-3, 1e-5], "seed": 9}
    block = {**SMALL["experiments"][1], "objectives": ["causal"]}
    config = SMALL | {"tuning": [tuning], "experiments": [*SMALL["experiments"], block]}
    tried = [
        Cell("x", "tiny", f"causal-alpha{a}-learning-rate{r}", 9, "constrained", "with")
        for a in ("0.02", "0.3")
        for r in ("1e-05", "0.001")
    ]
    study = resolve(config)
    assert list(tuning_cells(study)) == tried
    point = all_objectives(study)[tried[2].objective]
    assert (point.alpha, point.beta, point.training()) == (0.3, 1, {"learning_rate": 1e-5})
    for dataset in ("x", "y"):  # What x decides serves y, too.
        assert list(tuned_by(study, dataset, "tiny", "causal")) == tried
    assert not tuned_by(study, "x", "tiny", "cft")
    both = resolve(config | {"tuning": [tuning | {"datasets": ["x", "y"]}]})
    of_y = [cell._replace(dataset="y") for cell in tried]
    assert list(tuned_by(both, "y", "tiny", "causal")) == of_y
    only = resolve(config | {"tuning": both.tuning, "only": {"datasets": ["y"]}})
    assert list(only.datasets) == ["y"]
    # A part has the data set that decides, and tries nothing for what is not trained.
    part = resolve(config | {"only": {"datasets": ["y"]}})
    assert list(part.datasets) == ["x", "y"]
    assert list(tuning_cells(part)) == tried
    assert not tuning_cells(resolve(SMALL | {"tuning": [tuning]}))


def test_lengths_of_histories():
    config = changed("history_length", [TINY | {"lengths": [10, 50], "seeds": [0, 1]}])
    study = resolve(config)
    # 10 is the data set's own length.
    assert recut_datasets(study) == {"x+history50": ("x", 50)}
    found = history_length_cells(study)
    assert len(found) == 2 * 2 * 2
    assert set(found) & set(experiment_cells(study)) == {c for c in found if c.dataset == "x"}
    assert {cell.dataset for cell in baseline_cells(study)} == {"x", "y"}
    config["datasets"]["x+history50"] = config["datasets"]["x"]
    with pytest.raises(InputError, match=r"datasets\.x\+history50: history_length gives this name"):
        resolve(config)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_studies(name, tmp_path):
    file = ROOT / "config" / f"{name}.yaml"
    study = load(file)
    assert {m.base for m in study.methods} > {None}
    listed = {(cell.objective, cell.decoder) for cell in experiment_cells(study)}
    assert {(m.objective, m.decoder) for m in study.methods} <= listed
    document(schema=tmp_path / "config.schema.json")
    jsonschema.validate(read_yaml(file), json.loads((tmp_path / "config.schema.json").read_text()))
    where = re.search(r"^SCHEMA := (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert file.read_text("utf-8").startswith(f"# yaml-language-server: $schema=../{where}\n")


def test_the_papers_study():
    study = load(ROOT / "config" / "config.yaml")
    assert set(study.datasets) == {"books", "video-games", "toys", "cds", "steam", "ml-1m"}
    training = study.backbones["qwen2-0.5b"].training
    assert (training.learning_rate, training.batch_size, training.epochs) == (1e-4, 64, 3)
    assert (training.warmup_steps, training.patience, training.max_tokens) == (20, 1, 1024)
    assert training.lora is None
    assert {c[:4] for c in experiment_cells(stages(study)[1])} == {
        (name, "qwen2-0.5b", objective, seed)
        for name in ("toys", "video-games")
        for objective in ("plain", "cft")
        for seed in range(5)
    }
    # The ends of the released grids and their centre, with three seeds.
    assert len(sensitivity_cells(study)) == 5 * 3


@settings(max_examples=25)
@given(
    of_blocks=st.tuples(*[st.integers(1, 3)] * 3),
    datasets=st.sets(st.sampled_from(["x", "y"])),
    seeds=st.sets(st.sampled_from([0, 1])),
)
def test_a_part_is_what_is_asked_and_makes_nothing_otherwise_than_the_whole(
    of_blocks: tuple[int, ...], datasets: set[str], seeds: set[int]
) -> None:
    config = copy.deepcopy(SMALL)
    config["experiments"][1] |= {"objectives": ["cft", "plain"], "histories": ["with", "shuffled"]}
    blocks = [*config["experiments"], *config["sensitivity"]]
    for block, stage in zip(blocks, of_blocks, strict=True):
        block["stage"] = stage
    whole = resolve(config)
    for stage in of_blocks:
        asked = [
            {
                Cell(*point)
                for point in itertools.product(
                    block["datasets"],
                    block["backbones"],
                    block["objectives"],
                    block["seeds"],
                    block["decoders"],
                    block.get("histories", ["with", "without"]),
                )
                if point[0] in (datasets or {"x", "y"}) and point[3] in (seeds or {0, 1})
            }
            for block in config["experiments"]
            if block["stage"] <= stage
        ]
        part = config | {"stage": stage, "only": {"datasets": [*datasets], "seeds": [*seeds]}}
        if not any(asked):
            with pytest.raises(InputError, match="only: no experiment"):
                resolve(part)
            continue
        study = resolve(part)
        assert set(experiment_cells(study)) == set().union(*asked)
        assert all(lists in decodings(whole) for lists in decodings(study))
        assert set(baseline_cells(study)) <= set(baseline_cells(whole))
        assert set(sensitivity_cells(study)) == {
            cell
            for cell in sensitivity_cells(whole)
            if of_blocks[2] <= stage and datasets != {"y"} and seeds != {1}
        }


@pytest.mark.parametrize(
    ("headline", "kept", "mean"),
    # A headline that is left out as a whole is no headline of all that is left.
    [(["x", "y"], ["x"], "mean of x"), (["y"], ["y"], "mean of "), ([], [], "mean of x")],
)
def test_the_headline_of_a_part(headline: list[str], kept: list[str], mean: str) -> None:
    study = resolve(SMALL | {"headline": headline, "only": {"datasets": ["x"]}})
    assert study.headline == kept
    assert labels(study)["datasets"][ALL] == mean


@pytest.mark.parametrize(("backbone", "limit", "asked"), [(None, 9, 9), (5, 9, 5), (9, 5, 5)])
def test_training_takes_the_smaller_sub_sample(backbone, limit: int, asked: int) -> None:
    config = changed("datasets.x.train_examples", limit)
    config["backbones"]["tiny"]["training"] = {"train_examples": backbone}
    config["history_length"] = [TINY | {"lengths": [10, 50]}]
    study = resolve(config)
    for name in ("x", "x+history50"):
        assert training_of(study, name, "tiny").train_examples == asked
    assert training_of(study, "y", "tiny").train_examples == backbone


def test_backbones_are_compared_where_they_share_a_data_set() -> None:
    study = load(ROOT / "config" / "config.yaml")
    assert set(shared_datasets(study)) == {"toys"}
    # One backbone; and y has no plain model to compare with.
    assert shared_datasets(resolve(SMALL)) == []
    config = changed("backbones.other", SMALL["backbones"]["tiny"])
    config["experiments"][1]["backbones"] = ["tiny", "other"]
    assert shared_datasets(resolve(config)) == []
    config["experiments"][0]["backbones"] = ["tiny", "other"]
    assert shared_datasets(resolve(config)) == ["x"]


def test_sets_beyond_amazon_stand_beside_amazon_sets() -> None:
    paper = load(ROOT / "config" / "config.yaml")
    assert beyond_amazon(paper) == compared_beyond_amazon(paper) == ["steam", "ml-1m"]
    # The quickstart has MovieLens alone.
    assert beyond_amazon(load(ROOT / "config" / "quickstart.yaml")) == []
    assert beyond_amazon(resolve(SMALL)) == []
    # No method is compared with its base on y.
    config = changed(
        "datasets.y.source", {"kind": "movielens-zip", "archive": "https://a.example/z"}
    )
    assert beyond_amazon(resolve(config)) == ["y"]
    assert compared_beyond_amazon(resolve(config)) == []


def test_outside_references_of_the_papers_study() -> None:
    """The four Amazon sets; the means of the relative gains are those that the source states."""
    references = {
        name: dataset.references.methods
        for name, dataset in load(ROOT / "config" / "config.yaml").datasets.items()
        if dataset.references
    }
    assert list(references) == ["books", "video-games", "toys", "cds"]
    for base, stated in (("BIGRec", 4.0), ("D3", 3.3)):
        gains = [
            numbers[f"{base} + CFT"][metric] / numbers[base][metric] - 1
            for numbers in references.values()
            for metric in ("ndcg@5", "hr@5")
        ]
        assert round(100 * sum(gains) / len(gains), 1) == stated


def test_the_reference_is_in_step(tmp_path):
    document(output=tmp_path / "README.md")
    kept = (ROOT / "config" / "README.md").read_text("utf-8")
    remedy = "run python -m scripts.study.document --output config/README.md"
    assert (tmp_path / "README.md").read_text("utf-8") == kept, remedy


def test_every_key_has_a_meaning():
    text = (ROOT / "config" / "README.md").read_text("utf-8").partition("## All keys")[2]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) > 90
    assert all(row.endswith((". |", ".) |", "). |")) for row in rows)


def test_a_backbone_in_a_local_folder_is_used_where_it_lies() -> None:
    source = {"kind": "folder", "path": "models/mine"}
    study = resolve(changed("backbones.tiny.source", source))
    found = study.backbones["tiny"].source
    assert resources.pretrained_folder(found) == "models/mine"
    assert resources.pretrained([found]) == resources.wheels([found]) == []


def test_mirrors_are_urls_and_the_first_address_counts() -> None:
    key = "datasets.x.source.reviews"
    listed = ["https://a.example/x.json.gz", "https://b.example/other.json.gz"]
    study = resolve(changed(key, listed))
    assert resources.urls([study.datasets["x"].source]) == [("resources/raw/x.json.gz", listed)]
    with pytest.raises(InputError, match=r"datasets\.x\.source\.reviews"):
        resolve(changed(key, ["https://a.example/x.json.gz", "x.json.gz"]))
    with pytest.raises(InputError, match=r"datasets\.x\.source\.reviews"):
        resolve(changed(key, []))


@pytest.mark.parametrize(
    ("objective", "beta", "message"),
    [
        ({"token_weights": "learned"}, 0.5, "beta 0.5 has no effect"),
        ({"counterfactual": "placeholder"}, 1, "counterfactual has no effect"),
    ],
)
def test_settings_without_effect_are_faults(objective: dict, beta: float, message: str) -> None:
    """Of an objective, and of a point of a grid."""
    with pytest.raises(InputError, match=f"objectives.odd: {message}"):
        resolve(SMALL | {"objectives": {"odd": objective | {"beta": beta}}})
    grid = SMALL["sensitivity"][0] | {"alpha": [0.2, 0]}
    objectives = {"plain": {}, "cft": {"alpha": 0.1} | objective}
    with pytest.raises(InputError, match=rf"sensitivity\.0: a point around 'cft': {message}"):
        resolve(SMALL | {"objectives": objectives, "sensitivity": [grid]})


@pytest.mark.parametrize(
    ("module", "text", "fault"),
    [
        ("absent", None, "extensions/absent.py is not there"),
        ("other", "def table(): ...", "extensions/other.py defines no `OUTPUT`"),
        ("broken", "OUTPUT =\n", "extensions/broken.py: invalid syntax (broken.py, line 1)"),
        ("accuracy", "OUTPUT = 1", "there is an output 'accuracy' already"),
        ("a.b", None, "found 'a.b'; String should match"),
    ],
)
def test_a_module_of_the_users_own_is_checked(
    module: str, text: str | None, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.fingerprint.ROOT", tmp_path)
    (tmp_path / "extensions").mkdir()
    if text is not None:
        (tmp_path / f"extensions/{module}.py").write_text(text)
    with pytest.raises(InputError, match=re.escape(f"\noutputs.0: {fault}")):
        resolve(changed("outputs", [module]))


def test_a_part_may_be_larger_than_the_step_and_need_not_divide_it() -> None:
    for training in ({"batch_size": 8}, {"batch_size": 64, "micro_batch_size": 48}):
        resolve(changed("backbones.tiny.training", training))


def test_examples_of_the_reference_are_valid() -> None:
    """Those of backbones, and the entries of lists."""
    text = (ROOT / "config" / "README.md").read_text("utf-8").partition("## All keys")[0]
    config = copy.deepcopy(SMALL)
    config["datasets"]["mine"] = config["datasets"]["x"]
    entries = [yaml.safe_load(entry) for entry in re.findall(r"`(\{.*?\})`", text, re.DOTALL)]
    config["backbones"] |= {f"b{i}": entry for i, entry in enumerate(entries) if "source" in entry}
    config["sensitivity"] = [entry for entry in entries if "alpha" in entry]
    config["history_length"] = [entry for entry in entries if "lengths" in entry]
    assert len(config["backbones"]) == 2
    deviations = (ROOT / "docs" / "deviations.md").read_text("utf-8")
    [released] = re.findall(r"```yaml\n(.*?)```", deviations, re.DOTALL)
    for kind, entries_of_kind in yaml.safe_load(released).items():
        config[kind] |= entries_of_kind
    assert config["sensitivity"]
    assert config["history_length"]
    study = resolve(config)
    # docs/paper.md §3 and §5, in the words of the settings.
    training, decoder = study.backbones["released"].training, study.decoders["released"]
    assert (training.batch_size, training.micro_batch_size) == (64, 16)
    assert (training.learning_rate, training.weights, training.order) == (1e-4, "bf16", "random")
    assert (decoder.beams, decoder.min_new_tokens, decoder.early_stopping) == (5, 4, False)
    assert study.backbones["d3"].training.learning_rate == 3e-4
