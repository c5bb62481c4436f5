"""What a study still needs, before any job starts: downloads, disk, GPU memory and time.

All numbers are rough. Nothing here is used by a result.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from scripts.baselines.settings import Trained
from scripts.cells import Cell
from scripts.command import InputError, run
from scripts.data.settings import addresses, is_url
from scripts.files import read_json
from scripts.gpu import Gpu, given_gpus, installed_gpus
from scripts.study import resources
from scripts.study.cells import (
    all_objectives,
    baseline_cells,
    experiment_cells,
    history_length_cells,
    history_lengths,
    search_error_cells,
    sensitivity_cells,
    training_of,
)
from scripts.study.config import load
from scripts.study.schema import Backbone, Study

#: Tokens of a usual example without history, and of a title of its history.
TOKENS_WITHOUT_HISTORY = 70
TOKENS_OF_A_TITLE = 13
#: Tokens of an answer: what the branch without history costs an example, its prompt being shared.
TOKENS_OF_AN_ANSWER = 15
#: Training examples that the time is given for where their number is not known yet.
SOME_EXAMPLES = 10_000
#: Operations a second that training reaches: a recent GPU in bf16 (an H100 reached 1e14 to 3e14
#: with 16 to 64 examples of Qwen2-0.5B's shape), and one CPU core in fp32 (7e10).
GPU_FLOPS = 1e14
CORE_FLOPS = 5e10
#: Bytes per trained parameter: fp32 weight 4, gradient 4, AdamW's moments 8; bf16 keeps a copy, 2.
TRAINED_BYTES = {"fp32": 16, "bf16": 18}
#: The same where all of them are kept in bf16.
BF16_WEIGHTS_BYTES = 8
#: Bytes per frozen parameter under LoRA.
FROZEN_BYTES = {"fp32": 4, "bf16": 6}
#: Activations of a token: at so many parameters so many bytes, growing with this power of their
#: number; fitted to peaks on an H100 of Qwen2-0.5B's and Qwen2.5-1.5B's shapes in bf16.
ACTIVATIONS = (0.5e9, 1.8e6, 0.4)
#: Bytes per parameter on disk: a model in fp32, a checkpoint with AdamW's moments, a hub download.
SAVED_BYTES = 4
CHECKPOINT_BYTES = 12
HUB_BYTES = 2
#: Checkpoints that lie beside a model while it trains: two kept and one being written.
CHECKPOINTS = 3
#: Share of a backbone that its adapters come to, generously.
ADAPTER_SHARE = 0.05


class Work(NamedTuple):
    """What of a study does not exist yet."""

    models: list[Cell]
    """Models to train, each as its first cell."""
    trained: int
    """Models already there."""
    outputs: list[str]
    """Files and folders that a GPU is asked for, models included."""
    backbones: set[str]
    """Backbones with something to do."""
    datasets: set[str]
    """Data sets to prepare."""


def preflight(study: Study, gpu_planned: bool = True) -> str:
    """A short text on what the study still needs.

    Args:
        study: the checked study; its files are looked for below the working directory.
        gpu_planned: whether any of the jobs that are to run asks for a GPU.

    Raises:
        InputError: `device` is `cuda`, there is no GPU and something that asks for one is missing.
    """
    work = missing_work(study)
    gpus = find_gpus()
    on_gpu = study.device == "cuda" or (study.device == "auto" and bool(gpus))
    downloads = missing_downloads(study, work)
    lines = [
        f"Preflight of the study '{study.study}' (all numbers are rough)",
        *download_lines(downloads),
        disk_line(study, work, downloads),
        "GPU: " + ("; ".join(f"{g.name}, {g.memory_gb:.0f} GB" for g in gpus) or "no GPU found"),
        *(
            memory_line(name, study.backbones[name], longest_history(study, name), gpus)
            for name in sorted(work.backbones)
            if on_gpu
        ),
        f"Models: {len(work.models)} to train, {work.trained} already there",
        *time_lines(study, work, on_gpu),
    ]
    if missing := missing_paths(study):
        lines.append(missing_message(missing))
    if gpu_planned and study.device == "cuda" and not gpus and work.outputs:
        message = (
            f"device is cuda, but no usable GPU was found, and {len(work.outputs)} models or lists "
            f"are still to be made (the first: {work.outputs[0]}). Run on a machine with a GPU; "
            "or add `--config device=cpu` (slow); or add `--config missing_gpu=warn` where jobs "
            "run elsewhere, as on a cluster's head node"
        )
        if study.missing_gpu == "stop":
            raise InputError("\n".join([*lines, message]))
        lines.append(f"Warning: {message}")
    return "\n".join(lines)


def missing_work(study: Study) -> Work:
    """Look through results/<study>/ for what does not exist yet."""
    results = Path("results") / study.study
    cells = experiment_cells(study) + sensitivity_cells(study) + history_length_cells(study)
    cells = list(dict.fromkeys(cells))
    audited = search_error_cells(study)
    models = {cell.model: cell for cell in reversed([*cells, *audited])}
    to_train = [
        path for path in reversed(models) if not (results / "models" / path / "run.json").is_file()
    ]
    listed = cells + [cell for cell in baseline_cells(study) if trained_baseline(study, cell)]
    lists = {f"recommendations/{cell.path}.parquet": cell for cell in listed}
    no_lists = [path for path in lists if not (results / path).is_file()]
    audits = {f"audits/{cell.model}.csv": cell for cell in audited}
    no_audits = [path for path in audits if not (results / path).is_file()]
    backbones = {models[path].backbone for path in to_train}
    backbones |= {lists[path].backbone for path in no_lists if not lists[path].baseline}
    backbones |= {audits[path].backbone for path in no_audits}
    return Work(
        models=[models[path] for path in to_train],
        trained=len(models) - len(to_train),
        outputs=[str(results / "models" / path) for path in to_train]
        + [str(results / path) for path in no_lists + no_audits],
        backbones=backbones,
        datasets={name for name in study.datasets if not preparation_file(study, name).is_file()},
    )


def trained_baseline(study: Study, cell: Cell) -> bool:
    """Whether a baseline is a network, and so trained on the study's device."""
    return isinstance(study.baselines[cell.baseline], Trained)


def preparation_file(study: Study, dataset: str) -> Path:
    """Where the preparation of a data set leaves its counts."""
    return Path("results") / study.study / "data" / dataset / "preparation.json"


def find_gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi lists, none where they are hidden from this process."""
    return [] if given_gpus() == [] else installed_gpus()


def missing_paths(study: Study) -> dict[str, str]:
    """Files and folders of the user's own that are not there, each with its key in words."""
    sources = {name: dataset.source for name, dataset in study.datasets.items()}
    backbones = {name: backbone.source for name, backbone in study.backbones.items()}
    # A path may be that of another's download.
    made = {path for path, _ in resources.urls(sources.values())}
    made |= {path for path, _ in resources.pretrained(backbones.values())}
    missing = {
        listed[0]: f"datasets.{name}.source.{key}"
        for name, source in sources.items()
        for key, listed in addresses(source).items()
        if not is_url(listed[0]) and not Path(listed[0]).exists()
    }
    for name, source in backbones.items():
        if source.kind == "folder" and not (Path(source.path) / "config.json").is_file():
            missing[source.path] = f"backbones.{name}.source.path: needs a model's config.json"
    return {path: key for path, key in missing.items() if path not in made}


def missing_message(missing: dict[str, str]) -> str:
    """What is missing of the user's own, and the remedy."""
    lines = ["Missing files and folders that the study reads:"]
    lines += [f"  {path} ({key})" for path, key in missing.items()]
    lines.append(f"Put them there, or mend the keys; paths start at {Path.cwd()}")
    return "\n".join(lines)


def missing_downloads(study: Study, work: Work) -> dict[str, float]:
    """Files and folders to download with their size in GB, 0 where it is not known.

    The size of a data set's files is that of all of them together, given with the first.
    """
    sizes: dict[str, float] = {}
    for name in sorted(work.datasets):
        source = study.datasets[name].source
        wanted = dict(resources.urls([source]) + resources.wheels([source]))
        absent = [file for file in wanted if file not in sizes and not Path(file).exists()]
        sizes |= dict.fromkeys(absent, 0.0)
        sizes |= {file: source.approximate_mb / 1e3 for file in absent[:1]}
    for name in sorted(work.backbones):
        source = study.backbones[name].source
        for folder, pretrained in resources.pretrained([source]):
            if Path(folder).is_dir():
                continue
            if pretrained.kind == "hub":
                sizes[folder] = HUB_BYTES * pretrained.parameters / 1e9
            elif not Path(wheel := resources.wheel_file(pretrained.requirement)).exists():
                sizes[wheel] = pretrained.approximate_mb / 1e3
    return sizes


def download_lines(downloads: dict[str, float]) -> list[str]:
    """What is downloaded, and how much it is."""
    if not downloads:
        return ["Downloads: nothing"]
    total = f"Downloads: {len(downloads)}, about {size(sum(downloads.values()))} in all"
    return [total] + [f"  {file}{f'  {size(gb)}' if gb else ''}" for file, gb in downloads.items()]


def disk_line(study: Study, work: Work, downloads: dict[str, float]) -> str:
    """Free disk against the need: downloads, converted backbones, models and one's checkpoints."""
    need = sum(downloads.values())
    for name in work.backbones:
        source = study.backbones[name].source
        if source.kind == "gguf-wheel" and not Path(resources.pretrained_folder(source)).is_dir():
            need += SAVED_BYTES * source.parameters / 1e9
    trained = [trained_parameters(study.backbones[cell.backbone]) for cell in work.models]
    need += SAVED_BYTES * sum(trained) / 1e9
    need += CHECKPOINTS * CHECKPOINT_BYTES * max(trained, default=0) / 1e9
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    verdict = "; TOO LITTLE, free some or work in another folder" if free < need else ""
    names = dict.fromkeys(cell.backbone for cell in work.models)
    unknown = [name for name in names if not study.backbones[name].source.parameters]
    known = f"about {size(need)} needed"
    if unknown:
        given = f"source.parameters of {', '.join(unknown)} is not given"
        known = f"need unknown, as {given} (without that {known})"
    return f"Disk: {known}, {size(free)} free{verdict}"


def trained_parameters(backbone: Backbone) -> float:
    """Parameters that training changes, 0 where the backbone's number is not known."""
    share = ADAPTER_SHARE if backbone.training.lora else 1.0
    return share * backbone.source.parameters


def max_history(study: Study, dataset: str) -> int:
    """Longest history of a data set, in items."""
    known = {name: entry.preparation.max_history for name, entry in study.datasets.items()}
    return (known | {name: length for name, (_, length) in history_lengths(study).items()})[dataset]


def longest_history(study: Study, backbone: str) -> int:
    """Longest history that a backbone is trained on, in items."""
    cells = experiment_cells(study) + sensitivity_cells(study) + history_length_cells(study)
    return max(max_history(study, cell.dataset) for cell in cells if cell.backbone == backbone)


def memory_line(name: str, backbone: Backbone, history: int, gpus: list[Gpu]) -> str:
    """GPU memory for the fine-tuning of a backbone on the longest history, with the formula."""
    training, parameters = backbone.training, backbone.source.parameters
    if not parameters:
        return f"Memory for {name}: unknown, as source.parameters is not given"
    trained_bytes = TRAINED_BYTES[training.precision]
    if training.weights == "bf16":
        trained_bytes = BF16_WEIGHTS_BYTES
    weights = trained_bytes * trained_parameters(backbone) / 1e9
    how = f"full fine-tuning at {trained_bytes} bytes per parameter"
    if training.lora:
        weights += FROZEN_BYTES[training.precision] * parameters / 1e9
        how = f"LoRA at {FROZEN_BYTES[training.precision]} bytes per parameter and the adapters'"
    with_history, answer = example_tokens(backbone, history, both=True)
    # A part of the step with its histories, and the whole step without them.
    share = training.batch_size // training.processes
    tokens = min(training.micro_batch_size, share) * with_history
    tokens += TOKENS_WITHOUT_HISTORY + share * answer
    reference, token_bytes, power = ACTIVATIONS
    token_bytes *= (parameters / reference) ** power * (2 if training.precision == "fp32" else 1)
    need = weights + tokens * token_bytes / 1e9
    too_big = bool(gpus) and need > max(gpu.memory_gb for gpu in gpus)
    return (
        f"Memory for {name}: {size(need)} = {size(weights)} ({how}, {parameters:.3g} parameters) "
        f"+ activations at {token_bytes / 1e6:.1f} MB x {tokens} tokens at a time"
        + ("; MORE THAN THE GPU HAS: lower micro_batch_size, or set training.lora" * too_big)
    )


def example_tokens(backbone: Backbone, history: int, both: bool) -> tuple[int, int]:
    """Tokens of a usual example in the branch with the history, and in the one without."""
    tokens = TOKENS_WITHOUT_HISTORY + TOKENS_OF_A_TITLE * history
    return min(tokens, backbone.training.max_tokens), TOKENS_OF_AN_ANSWER * both


def time_lines(study: Study, work: Work, on_gpu: bool) -> list[str]:
    """Training time of the models that are missing, by backbone.

    6 * parameters * tokens * epochs / (operations a second); of the no-history branch the answers
    count, as its prompt runs once a step. Until a data set is prepared, the number of its examples
    is not known.
    """
    objectives = all_objectives(study)
    lines = []
    for name in sorted({cell.backbone for cell in work.models}):
        backbone = study.backbones[name]
        parameters, training = backbone.source.parameters, backbone.training
        cells = [cell for cell in work.models if cell.backbone == name]
        if not parameters:
            lines.append(f"Training time of {name}: unknown, as source.parameters is not given")
            continue
        cores = 1 if backbone.source.kind == "scratch" else study.threads
        speed = GPU_FLOPS if on_gpu else CORE_FLOPS * cores
        seconds = unprepared = 0.0
        for cell in cells:
            examples = train_examples(study, cell)
            history = max_history(study, cell.dataset)
            both = objectives[cell.objective].alpha > 0
            tokens = sum(example_tokens(backbone, history, both))
            seconds_each = 6 * parameters * tokens * training.epochs / speed
            if examples is None:
                unprepared += SOME_EXAMPLES * seconds_each
            else:
                seconds += examples * seconds_each
        parts = [f"about {duration(seconds)}"] * (seconds > 0)
        parts += [
            f"about {duration(unprepared)} for every {SOME_EXAMPLES:,} training examples of the "
            "data sets that are not prepared yet"
        ] * (unprepared > 0)
        lines.append(f"Training time of {name}: {len(cells)} models, {' and '.join(parts)}")
    if lines:
        speeds = f"{GPU_FLOPS:.0e} operations/s" if on_gpu else f"{CORE_FLOPS:.0e} per core"
        lines.append(
            f"  (6 x parameters x tokens x epochs at {speeds}, up to several times off; decoding "
            "comes on top)"
        )
    return lines


def train_examples(study: Study, cell: Cell) -> int | None:
    """Training examples of a model; None until its data set is prepared."""
    limit = training_of(study, cell.dataset, cell.backbone).train_examples
    base, _ = history_lengths(study).get(cell.dataset, (cell.dataset, None))
    counts = preparation_file(study, base)
    if not counts.is_file():
        return limit
    found = int(read_json(counts)["splits"]["train"]["examples"])
    return found if limit is None else min(found, limit)


def size(gigabytes: float) -> str:
    """A size in words."""
    if gigabytes >= 1:
        return f"{gigabytes:,.0f} GB" if gigabytes >= 10 else f"{gigabytes:.1f} GB"
    return f"{gigabytes * 1e3:.0f} MB"


def duration(seconds: float) -> str:
    """A duration in words."""
    for unit, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def without_timers(scheduler: Any) -> None:
    """Take Snakemake's own limit of 100 jobs a second from its scheduler; a user's limit stays.

    With a limit, every round of the scheduler starts a timer that starts the next round, and every
    finished job a round: one endless loop more a job. After 1,000 they would take a whole core.
    """
    limit = scheduler.job_rate_limiter
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        scheduler.job_rate_limiter = None


def tell(configfile: Path) -> None:
    """Print what a study still needs.

    Args:
        configfile: the study's YAML file; its files are looked for below the working directory.
    """
    print(preflight(load(configfile)))


if __name__ == "__main__":
    run(tell)
