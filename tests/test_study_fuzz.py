"""Configurations made up from the schema: a valid one is planned, a spoilt one is refused by name.

`pytest tests/test_study_fuzz.py --hypothesis-profile long` tries thousands.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from scripts.command import InputError
from scripts.study import cells, preflight, resources
from scripts.study.config import resolve
from scripts.study.outputs import OUTPUTS, figures, options, tables
from scripts.study.schema import Study

SCHEMA = Study.model_json_schema()
CHECK = jsonschema.Draft202012Validator(SCHEMA)
#: Entries by name, which blocks refer to; with their schema where it is not any.
NAMES: dict[str, dict[str, str | None]] = {
    "datasets": {"x": None, "y.1": None},
    "backbones": {"tiny": None, "b+2": None},
    "baselines": {"any": None, "sas": "SASRec"},
    "objectives": {"plain": None, "cft": None},
    "decoders": {"constrained": "Constrained", "any": None},
}
LABELS = st.sampled_from(
    ["=1+1", "\\input{x} $5 %", "<script>", "x{y}z{0}", "$(id) `id` 'q' \"", "😀", "1e5", "l" * 300]
)
ADDRESSES = st.sampled_from(
    ["a.csv", "/x/b c.csv", "../é.json", "$(id) 'x", "-rf", "https://a.example/q", ["https://a/x"]]
)
#: What keys hold that the schema alone does not fit together.
OWN: dict[str, SearchStrategy[Any]] = {
    **dict.fromkeys(("reviews", "metadata", "archive"), ADDRESSES),
    **{kind.removesuffix("s"): st.sampled_from(list(names)) for kind, names in NAMES.items()},
    "detached": st.just(False),  # It has no effect without a causal loss.
    **dict.fromkeys(("weights", "token_weights", "counterfactual"), st.nothing()),
    **dict.fromkeys(("columns", "min_new_tokens", "stage", "only", "processes"), st.nothing()),
    **dict.fromkeys(("module", "outputs"), st.nothing()),  # No file of the user's is there.
    "files": st.just({"x": {"with": "a.csv"}}),
    "references": st.none(),
    "tuning": st.sampled_from(
        [[], [{"backbone": "tiny", "datasets": ["x"], "objective": "plain", "beta": [0, 1]}]]
    ),
    "methods": st.sampled_from([[], [{"label": "M", "objective": "cft", "decoder": "any"}]]),
    "id": st.sampled_from(["a/b", "../.."]),
    "revision": st.sampled_from(["main", "v1/é x"]),
    "path": st.sampled_from(["m", "../a b/"]),
    "assistant": st.just("sas"),
    "objective": st.just("cft"),
    "headline": st.sampled_from([[], ["y.1"]]),
    "encoding": st.sampled_from([None, "latin-1", "utf-16"]),
    "start": st.sampled_from([None, "1996-01"]),
    "end": st.sampled_from([None, "2018-11"]),
    "hidden_size": st.sampled_from([32, 64]),
    "heads": st.sampled_from([1, 2, 4]),
    "widen_to": st.just(20),
    "max_tokens": st.just(1024),
    "users": st.integers(1, 9),
    "histories": st.sampled_from([["with"], ["shuffled", "with"]]),
    "sha256": st.just("0" * 64),
}


def values(node: dict[str, Any], key: str = "") -> SearchStrategy[Any]:
    """What a part of the schema allows; small, and under a key of `OWN` what stands there."""
    if key in OWN:
        return OWN[key]
    if "$ref" in node:
        return values(SCHEMA["$defs"][node["$ref"].rpartition("/")[2]], key)
    kind = node.get("type")
    if "const" in node or "enum" in node:
        return st.sampled_from(node.get("enum") or [node["const"]])
    several = node.get("anyOf") or node.get("oneOf") or []
    several += [node | {"type": one} for one in kind] if isinstance(kind, list) else []
    if several:
        return st.one_of([values(one, key) for one in several])
    low = node.get("minimum", node.get("exclusiveMinimum", 0))
    high = node.get("maximum", node.get("exclusiveMaximum", low + 8))
    match kind:
        case "integer":
            return st.integers(low, low + 8)
        case "number":
            edges = {
                f"exclude_{end}": f"exclusive{end.title()}imum" in node for end in ("min", "max")
            }
            return st.floats(low, high, **edges)
        case "array":
            name = key.removesuffix("s") if key in NAMES else key
            entries = values(node["items"], name)
            return st.lists(entries, min_size=node.get("minItems", 0), max_size=2)
        case "object" if "properties" not in node:
            given = node["additionalProperties"]
            each = {n: {"$ref": f"/{kind}"} if kind else given for n, kind in NAMES[key].items()}
            return st.fixed_dictionaries({name: values(one) for name, one in each.items()})
        case "object":
            every = {name: values(one, name) for name, one in node["properties"].items()}
            if any(every[name].is_empty for name in node.get("required", ())):
                return st.nothing()
            every = {name: one for name, one in every.items() if not one.is_empty}
            need = {*node.get("required", ()), "users", "baselines"} & {*every}
            may = {name: one for name, one in every.items() if name not in need}
            return st.fixed_dictionaries({name: every[name] for name in need}, optional=may)
        case "string":
            return st.from_regex(node["pattern"], fullmatch=True) if "pattern" in node else LABELS
    return {"boolean": st.booleans(), "null": st.none()}[kind]


def places(node: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to everything in a configuration."""
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield (*at, key)
        yield from places(node[key], (*at, key))


CONFIGS = values(SCHEMA)
NUMBERS = [0, -1, 2**32, 2**64, 10**400, 0.5, 1e308, math.nan, math.inf, -math.inf]
TEXTS = ["", " ", "a\nb", "\0", "\ud800", "\u202e", "x" * 300, "x" * 100_000, "{x}", "../x", ".."]
TEXTS += ["/", "baselines", "https://a.example/", "https://a.example/..", "٢٠١٨-01", "-r==1"]
SPOILT = [None, True, *NUMBERS, *TEXTS, [], {}, [[]], {1: 2}, date(2018, 1, 1), b"x"]


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[dict[str, Any], list[str]]:
    """A configuration with one change, and names of which a message must hold one."""
    config = copy.deepcopy(draw(CONFIGS))
    *way, last = draw(st.sampled_from(list(places(config))))
    parent = config
    for name in way:
        parent = parent[name]
    change = draw(st.sampled_from(["value"] * 4 + ["name", "gone", "twice"]))
    if change == "twice" and isinstance(parent, list):
        parent.append(parent[last])
    elif change == "name" and isinstance(parent, dict):
        parent[f"{last}x"] = parent.pop(last)
    elif change == "gone":
        del parent[last]
    else:
        parent[last] = draw(st.sampled_from(SPOILT))
    return config, [str(name) for name in (*way, last) if isinstance(name, str)][-2:]


def plan(study: Study) -> None:
    """What the rules do with a study before a job starts."""
    for output in OUTPUTS:
        if output.when(study):
            json.dumps([[list(of(study)) for of in output.reads.values()]])
            json.dumps([of(study) for of in output.settings.values()])
    for output in tables(study) + figures(study):
        json.dumps(options(study, output.table_options + output.figure_options))
    cells.decodings(study)
    cells.all_objectives(study)
    preflight.preflight(study).encode()
    preflight.missing_gpu(study)
    study.model_dump_json()
    sources = [entry.source for entry in study.datasets.values()]
    for file, _ in resources.urls(sources) + resources.wheels(sources):
        assert len(Path("/", file).resolve().relative_to("/resources").parts) == 2


@pytest.fixture(autouse=True)
def _no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_gpus", list)


FUZZ = settings(derandomize=True, suppress_health_check=list(HealthCheck))


@FUZZ
@given(CONFIGS)
def test_a_valid_configuration_is_planned(config: dict[str, Any]) -> None:
    CHECK.validate(config)
    plan(resolve(config))


@FUZZ
@given(spoilt())
def test_a_spoilt_configuration_is_planned_or_refused_by_name(
    case: tuple[dict[str, Any], list[str]],
) -> None:
    config, names = case
    try:
        study = resolve(config)
    except InputError as error:
        message = str(error)
        assert (
            any(name.removesuffix("s") in message for name in names) or "would both be" in message
        )
        assert len(message) < 10_000
        message.encode()
    else:
        plan(study)
