"""The configuration of a study: read and checked, with one line for every fault."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scripts.baselines.settings import SEQUENTIAL, Lists, Trained
from scripts.command import InputError
from scripts.files import read_yaml
from scripts.labels import one_line
from scripts.study import resources
from scripts.study.cells import (
    experiment_cells,
    grid_objectives,
    recut_datasets,
    shown_cells,
    tuning_objectives,
)
from scripts.study.outputs import OUTPUTS
from scripts.study.schema import Only, Study
from scripts.study.stages import blocks, part, stages

#: Shows what was found, however large it is.
FOUND = reprlib.Repr()
FOUND.maxstring = FOUND.maxother = 200


def load(configfile: Path) -> Study:
    """The study of a YAML file.

    Raises:
        InputError: the file cannot be read, or the configuration has faults.
    """
    return resolve(read_yaml(configfile))


def resolve(config: dict[str, Any]) -> Study:
    """Check a whole configuration, fill in the defaults, and leave out what is not asked for.

    Raises:
        InputError: one line per fault, with the key, what was found and what is allowed.
    """
    try:
        study = Study.model_validate(config)
    except ValidationError as error:
        faults = [_fault(fault, config) for fault in error.errors(include_url=False)]
    else:
        faults = _faults_between_keys(study)
    if faults:
        lines = [
            fault if len(fault) < 2000 else f"{fault[:999]} ... {fault[-999:]}"
            for fault in map(one_line, faults)
        ]
        raise InputError("\n".join(["The configuration has faults:", *lines]))
    return part(study)


def _fault(fault: Any, config: dict[str, Any]) -> str:
    """One fault in one line, its key as it stands in the configuration."""
    # pydantic puts the kind of a source, baseline or decoder between the keys.
    keys, node = [], config
    for step in fault["loc"]:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            if fault["type"] != "missing" or step != fault["loc"][-1]:
                continue
        keys.append(str(step))
    key = ".".join(keys)
    message = fault["msg"].removeprefix("Value error, ")
    if not key:
        return message
    if fault["type"] == "extra_forbidden":
        return f"{key}: unknown key; see config/README.md for the keys allowed here"
    if fault["type"] == "missing":
        return f"{key}: missing; see config/README.md"
    if fault["type"] == "value_error":
        return f"{key}: {message}"
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float | date):
        return f"{key}: YAML reads {fault['input']} as no text; put it in quotes"
    if fault["type"] == "string_type" and fault["input"] is None:
        return f"{key}: is empty; give a text, in quotes if it is null or ~"
    return f"{key}: found {FOUND.repr(fault['input'])}; {message}"


def _faults_between_keys(study: Study) -> list[str]:
    """What does not fit together, a line each; the later checks need what the first assure."""
    names = [*_unknown_names(study), *_unknown_bases(study), *_wrong_assistants(study)]
    return [*names, *_unwritable_texts(study.model_dump())] or [
        *_grid_faults(study),
        *_tuning_faults(study),
        *_taken_names(study),
        *_unfit_labels(study),
        *_empty_parts(study),
        *_unpaired_histories(study),
        *_clashing_downloads(study),
        *_unfit_paths(study),
    ]


def _unknown_names(study: Study) -> Iterator[str]:
    """Names of data sets, backbones, objectives and decoders that the study does not have."""
    known = {
        "dataset": study.datasets,
        "backbone": study.backbones,
        "objective": study.objectives,
        "decoder": study.decoders,
    }
    given = [("headline", "dataset", study.headline)]
    for name, baseline in study.baselines.items():
        if isinstance(baseline, Lists):
            given.append((f"baselines.{name}.files", "dataset", list(baseline.files)))
    lists = ("experiments", "sensitivity", "tuning", "history_length", "methods")
    named = {f"{key}.{i}": one for key in lists for i, one in enumerate(getattr(study, key))}
    for key, block in (named | {"only": study.only, "search_error": study.search_error}).items():
        for kind in known:
            fields = (kind, f"{kind}s")
            given += [(f"{key}.{field}", kind, getattr(block, field, [])) for field in fields]
    for key, kind, names in given:
        for name in [names] if isinstance(names, str) else names:
            if name not in known[kind]:
                of_study = ", ".join(known[kind])
                yield f"{key}: unknown {kind} '{name}'; {kind}s of this study: {of_study}"


def _unknown_bases(study: Study) -> Iterator[str]:
    """Bases of methods that are no methods."""
    labels = [method.label for method in study.methods]
    for i, method in enumerate(study.methods):
        if method.base is not None and method.base not in labels:
            yield (
                f"methods.{i}.base: unknown method '{method.base}'; methods: {', '.join(labels)}"
            )


def _wrong_assistants(study: Study) -> Iterator[str]:
    """Assistants that are no trained baselines."""
    for name, decoder in study.decoders.items():
        if decoder.kind != "assisted":
            continue
        if not isinstance(study.baselines.get(decoder.assistant), Trained):
            yield (
                f"decoders.{name}.assistant: '{decoder.assistant}' must be a baseline of kind "
                f"{', '.join(SEQUENTIAL[:-1])} or {SEQUENTIAL[-1]}"
            )


def _unwritable_texts(entries: dict[str, Any] | list[Any], key: str = "") -> Iterator[str]:
    """Texts that no command line or no file can hold."""
    for name, value in entries.items() if isinstance(entries, dict) else enumerate(entries):
        if isinstance(value, dict | list):
            yield from _unwritable_texts(value, f"{key}{name}.")
        elif re.search("[\0\ud800-\udfff]", f"{name}{value}"):
            yield f"{key}{name}: found {FOUND.repr(value)}; leave out NUL and halves of characters"


def _grid_faults(study: Study) -> Iterator[str]:
    """Grids around several objectives, and points that are none or that bear another's name."""
    centres = {grid.objective for grid in study.sensitivity}
    if len(centres) > 1:
        yield (
            f"sensitivity: found the objectives {', '.join(sorted(centres))}; "
            "all grids must lie around the same one"
        )
    for i, grid in enumerate(study.sensitivity):
        try:
            points = grid_objectives(study, grid)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            yield f"sensitivity.{i}: a point around '{grid.objective}': {message}"
            continue
        for name, point in points.items():
            if study.objectives.get(name, point) != point:
                yield (
                    f"objectives.{name}: the sensitivity grid gives this name to another "
                    "objective; choose another name"
                )


def _tuning_faults(study: Study) -> Iterator[str]:
    """Tunings that choose nothing, twice or what a grid varies, and points that are none or that
    bear another's name."""
    centres = {grid.objective for grid in study.sensitivity}
    tuned: dict[tuple[str, str], int] = {}
    for i, tuning in enumerate(study.tuning):
        key = f"tuning.{i}"
        first = tuned.setdefault((tuning.backbone, tuning.objective), i)
        if first != i:
            yield f"{key}: tuning.{first} chooses for this backbone and objective; merge the two"
        if tuning.objective in centres:
            yield f"{key}.objective: a sensitivity grid lies around '{tuning.objective}'"
        if study.decoders[tuning.decoder].kind == "assisted":
            yield f"{key}.decoder: '{tuning.decoder}' is assisted; name another"
        try:
            points = tuning_objectives(study, tuning)
        except ValidationError as error:
            message = error.errors()[0]["msg"].removeprefix("Value error, ")
            yield f"{key}: a point of '{tuning.objective}': {message}"
            continue
        if len(points) < 2:
            yield f"{key}: one point is no choice; give several of alpha, beta or learning_rate"
            continue
        for name in points.keys() & study.objectives.keys():
            yield f"objectives.{name}: {key} gives this name to another; choose another name"


def _taken_names(study: Study) -> Iterator[str]:
    """Data sets with the name of one that is cut at another length, and outputs of one name."""
    taken = [output.name for output in OUTPUTS]
    for i, name in enumerate(study.outputs):
        if name in [*taken, *study.outputs[:i]]:
            yield f"outputs.{i}: there is an output '{name}' already; choose another name"
    for name in recut_datasets(study):
        if name in study.datasets:
            yield (
                f"datasets.{name}: history_length gives this name to another data set; choose "
                "another name"
            )


def _unfit_labels(study: Study) -> Iterator[str]:
    """Labels that cannot be shown, and those of methods that another row of their table bears."""
    kinds = ("datasets", "backbones", "decoders", "baselines")
    labels = {
        f"{kind}.{name}": e.label for kind in kinds for name, e in getattr(study, kind).items()
    }
    labels |= {f"methods.{i}": method.label for i, method in enumerate(study.methods)}
    rows: dict[str, str] = {}
    for key, label in labels.items():
        if not label or label != one_line(label):
            yield f"{key}.label: found {label!r}; give a text of one line"
        if key.startswith(("baselines", "methods")):
            other = rows.setdefault(label, key)
            if other != key and key.startswith("methods"):
                yield f"{key}.label: '{label}' is the label of {other}, too; choose another"


def _empty_parts(study: Study) -> Iterator[str]:
    """A stage or a seed that no block has, and an `only` that leaves no experiment."""
    numbers = sorted({block.stage for block in blocks(study)})
    seeds = sorted({seed for block in blocks(study) for seed in block.seeds})
    if study.stage is not None and study.stage not in numbers:
        yield f"stage: found {study.stage}; stages of this study: {', '.join(map(str, numbers))}"
    elif unknown := [seed for seed in study.only.seeds if seed not in seeds]:
        yield (
            f"only.seeds: unknown seed {unknown[0]}; seeds of this study: "
            f"{', '.join(map(str, seeds))}"
        )
    elif not part(study).experiments:
        yield (
            "only: no experiment up to this stage has these data sets, backbones and seeds "
            "together; name others, or a later `stage`"
        )


def _unpaired_histories(study: Study) -> Iterator[str]:
    """The first cell whose model is not shown its own history as well, up to the same stage."""
    for number, stage in stages(study.model_copy(update={"only": Only()})).items():
        shown = set(shown_cells(stage))
        for cell in experiment_cells(stage):
            if cell._replace(history="with") not in shown:
                yield (
                    f"experiments: the history '{cell.history}' is compared with 'with', which "
                    f"{cell.model}, {cell.decoder} lacks up to stage {number}; add 'with' to its "
                    "histories"
                )
                return


def _clashing_downloads(study: Study) -> Iterator[str]:
    """Different downloads with the same name."""
    sources = [dataset.source for dataset in study.datasets.values()]
    backbones = [backbone.source for backbone in study.backbones.values()]
    origins: dict[str, str] = {}
    for file, origin in [
        *((file, listed[0]) for file, listed in resources.urls(sources)),
        *((file, w.sha256) for file, w in resources.wheels([*sources, *backbones])),
    ]:
        if origins.setdefault(file, origin) != origin:
            yield (
                f"'{origins[file]}' and '{origin}' would both be {file}; give one of them as "
                "a local path, or mend it"
            )


def _unfit_paths(study: Study) -> Iterator[str]:
    """Paths and URLs that name no file, or one that no disk or Snakemake can hold."""
    paths = {
        f"datasets.{name}.source.{key}": path
        for name, dataset in study.datasets.items()
        for key, path in resources.raw_files(dataset.source).items()
    }
    paths |= {key: path for path, key in resources.given_lists(study.baselines)}
    no_files = {key for key, path in paths.items() if path.split("/")[-1] in ("", ".", "..")}
    for name, backbone in study.backbones.items():
        if backbone.source.kind != "scratch":
            paths[f"backbones.{name}.source"] = resources.pretrained_folder(backbone.source)
    for key, path in paths.items():
        if not path or key in no_files:
            yield f"{key}: '{path}' must end in the name of a file"
        elif len(path) > 4000 or any(len(part.encode()) > 200 for part in path.split("/")):
            yield f"{key}: '{path}' is too long: 200 bytes for a name, 4000 in all; rename it"
        # Snakemake would fill in a wildcard of its own; it knows no escape.
        elif re.search(r"\{.+\}", path) or path != one_line(path):
            yield (
                f"{key}: {path!r} has braces or breaks in its name, which Snakemake cannot take; "
                "rename it"
            )
