"""What a study still needs, in numbers: files that a GPU makes, downloads, seconds and bytes.

All are rough: they stand on `scripts.study.costs`, and on counts that are prepared or published.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any, NamedTuple

from scripts.baselines.settings import Trained
from scripts.cells import Cell
from scripts.files import read_json
from scripts.gpu import Gpu
from scripts.study import costs, resources
from scripts.study.cells import (
    all_objectives,
    base_of,
    baseline_cells,
    decoded_cells,
    experiment_cells,
    history_lengths,
    search_error_cells,
    training_of,
    tuning_cells,
)
from scripts.study.costs import NUMBER_BYTES, Speed
from scripts.study.schema import Backbone, Study
from scripts.study.stages import stages

#: What `--measure` of the preflight has found, by machine and by backbone, see `shape_of`.
MEASURED = Path("resources/measured.json")


class Needs(NamedTuple):
    """What a part of a study adds to those before it."""

    part: Study
    """The part, with those before it."""
    files: dict[str, Cell]
    """Missing files that a GPU is asked for, see `device_files`."""
    trained: int
    """Models already there."""
    downloads: dict[str, float]
    """Files and folders to download, in GB."""


def needs_of(study: Study) -> dict[int, Needs]:
    """What each stage of a study adds, looked up below the working directory."""
    seen: set[str] = set()
    found: dict[int, Needs] = {}
    for number, part in stages(study).items():
        files = {path: cell for path, cell in device_files(part).items() if path not in seen}
        missing = {path: cell for path, cell in files.items() if not Path(path).is_file()}
        downloads = missing_downloads(part, {cell.backbone for cell in missing.values()} - {""})
        downloads = {path: gb for path, gb in downloads.items() if path not in seen}
        trained = sum(kind_of(path) == "models" for path in files.keys() - missing.keys())
        found[number] = Needs(part, missing, trained, downloads)
        seen |= {*files, *downloads}
    return found


def device_files(study: Study) -> dict[str, Cell]:
    """The files that a GPU is asked for, models first, each with a cell that it belongs to."""
    cells = decoded_cells(study)
    audited, baselines = search_error_cells(study), baseline_cells(study)
    baselines = [cell for cell in baselines if isinstance(study.baselines[cell.baseline], Trained)]
    tried = tuning_cells(study)
    tuned = [cell for cell in cells if len(getattr(study.decoders[cell.decoder], "g", ())) > 1]
    files = (
        {f"models/{cell.model}/run.json": cell for cell in [*tried, *cells, *audited]}
        | {f"validation/{cell.path}.json": cell for cell in tried}
        | {f"recommendations/{cell.path}.parquet": cell for cell in cells + baselines}
        | {f"tuning/{cell.model}/{cell.decoder}.json": cell for cell in tuned}
        | {f"token_effects/{cell.model}.parquet": cell for cell in experiment_cells(study)}
        | {f"audits/{cell.model}.csv": cell for cell in audited}
    )
    return {f"results/{study.study}/{path}": cell for path, cell in files.items()}


def backbones_of(need: Needs) -> set[str]:
    """Backbones with something to do."""
    return {cell.backbone for cell in need.files.values() if not cell.baseline}


def kind_of(path: str) -> str:
    """Which kind of file it is: its folder in the results."""
    return path.split("/")[2]


def missing_downloads(study: Study, backbones: set[str]) -> dict[str, float]:
    """Files and folders to download with their size in GB, 0 where it is not known: those of data
    sets that are not prepared, and of these backbones.

    The size of a data set's files is that of all of them together, given with the first.
    """
    sizes: dict[str, float] = {}
    for name in sorted(study.datasets):
        if preparation(study, name):
            continue
        source = study.datasets[name].source
        wanted = dict(resources.urls([source]) + resources.wheels([source]))
        absent = [file for file in wanted if file not in sizes and not Path(file).exists()]
        sizes |= dict.fromkeys(absent, 0.0)
        sizes |= {file: source.approximate_mb / 1e3 for file in absent[:1]}
    for name in sorted(backbones):
        source = study.backbones[name].source
        for folder, pretrained in resources.pretrained([source]):
            if (Path(folder) / "config.json").is_file():
                continue
            if pretrained.kind == "hub":
                sizes[folder] = NUMBER_BYTES["bf16"] * pretrained.parameters / 1e9
            elif not Path(wheel := resources.wheel_file(pretrained.requirement)).exists():
                sizes[wheel] = pretrained.approximate_mb / 1e3
    return sizes


def preparation(study: Study, dataset: str) -> dict[str, Any]:
    """The counts that the preparation of a data set has left; empty where it is not prepared."""
    folder = Path("results") / study.study / "data" / dataset
    return read_json(folder / "preparation.json", needed=False)


def number_of_examples(study: Study, dataset: str, split: str, limit: int | None) -> int | None:
    """Examples of a split, at most so many; as prepared, else as published, else the limit."""
    base = base_of(study, dataset)
    if counts := preparation(study, base):
        known = int(counts["splits"][split]["examples"])
    else:
        known = getattr(study.datasets[base].published, split, None)
    return min((number for number in (known, limit) if number is not None), default=None)


def max_history(study: Study, dataset: str) -> int:
    """Longest history of a data set, in items."""
    own = study.datasets[base_of(study, dataset)].preparation.max_history
    return history_lengths(study).get(dataset, (dataset, own))[1]


def usual_history(study: Study, dataset: str) -> float:
    """Items of a usual history of a data set."""
    base, share = base_of(study, dataset), costs.HISTORY_SHARE
    if counts := preparation(study, base):
        share = counts["splits"]["train"]["mean_history_length"] / max_history(study, base)
    return share * max_history(study, dataset)


def seconds_of(study: Study, path: str, cell: Cell, speed: Speed) -> float | None:
    """Seconds that a file of a fine-tuned model takes once its job runs; None where a number is not
    known."""
    backbone, kind = study.backbones[cell.backbone], kind_of(path)
    objective = all_objectives(study)[cell.objective]
    training = training_of(study, cell.dataset, cell.backbone)
    training = training.model_copy(update=objective.training())
    parameters, items = backbone.source.parameters, usual_history(study, cell.dataset)
    if kind == "models":
        number = number_of_examples(study, cell.dataset, "train", training.train_examples)
        both = objective.alpha > 0
        return number and costs.training_seconds(parameters, training, number, items, both, speed)
    number = number_of_examples(study, cell.dataset, "test", backbone.test_examples)
    tokens = costs.PROMPT_TOKENS + costs.own_tokens(items, training)
    if kind == "audits":
        published = study.datasets[cell.dataset].published
        titles = preparation(study, cell.dataset).get("items") or getattr(published, "items", None)
        number = titles and study.search_error.examples * titles
        tokens = costs.TITLE_TOKENS
    if kind in ("audits", "token_effects"):
        return number and costs.passes_seconds(parameters, number * tokens, speed)
    decoder = study.decoders[cell.decoder]
    if kind == "tuning":
        number = decoder.tune_examples * len(decoder.g)
    elif kind == "validation":
        number = tuning_cells(study)[cell].examples
    elif cell.history == "without":
        # All examples share one prompt, which is decoded once.
        number = 1
    return number and costs.decoding_seconds(parameters, decoder, number, tokens, speed)


def start_seconds(path: str, cell: Cell) -> float:
    """Seconds until the job of a file runs; one job decodes all histories."""
    joins = kind_of(path) == "recommendations" and cell.history != "with"
    return 0.0 if joins else costs.START_SECONDS


def kept_bytes(study: Study, path: str, cell: Cell, on_gpu: bool) -> float:
    """Bytes of a file that stays: of a model, or of lists and their metrics."""
    if kind_of(path) == "models":
        backbone = study.backbones[cell.backbone]
        return costs.saved_bytes(backbone.source, backbone.training, on_gpu)
    if kind_of(path) != "recommendations":
        return 0.0
    # Of baselines, whose lists are of all examples, 50 items.
    limit = None if cell.baseline else study.backbones[cell.backbone].test_examples
    depth = 50 if cell.baseline else study.decoders[cell.decoder].depth
    number = number_of_examples(study, cell.dataset, "test", limit) or 0
    return number * (depth * costs.LISTED_BYTES + costs.METRICS_BYTES)


def on_gpu(study: Study, gpus: list[Gpu]) -> bool:
    """Whether models run on a GPU, here or where the study is planned for."""
    return study.device == "cuda" or (study.device == "auto" and bool(gpus))


def machine_of(study: Study, backbone: str, gpus: list[Gpu]) -> str:
    """What a backbone is timed on."""
    if on_gpu(study, gpus):
        return gpus[0].name if gpus else costs.USUAL_GPU
    return f"{platform.node()}, CPU cores: {cores_of(study, backbone)}"


def cores_of(study: Study, backbone: str) -> int:
    """CPU cores of a job on a backbone: a scratch model is too small for more than one."""
    return 1 if study.backbones[backbone].source.kind == "scratch" else study.threads


def speed_of(study: Study, backbone: str, gpus: list[Gpu]) -> Speed:
    """How fast a backbone is trained and decoded, as measured here, else by constants."""
    machine = machine_of(study, backbone, gpus)
    speed = Speed(costs.CORE_OPERATIONS * cores_of(study, backbone))
    if on_gpu(study, gpus):
        speed = costs.gpu_speed(machine)
    measured = read_json(MEASURED, needed=False)
    found = measured.get(machine, {}).get(shape_of(study.backbones[backbone]))
    return speed._replace(token=found["token"], decoded=found["decoded"]) if found else speed


def shape_of(backbone: Backbone) -> str:
    """What of a backbone and its training the speed hangs on, as a key of JSON."""
    names = {"lora", "batch_size", "micro_batch_size", "precision", "weights"}
    training = backbone.training.model_dump(include=names | {"gradient_checkpointing"})
    return json.dumps({"source": backbone.source.model_dump(), "training": training})
