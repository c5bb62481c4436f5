"""What a study still needs, before any job starts: downloads, disk, GPU memory and time, by stage.

All numbers are rough. Nothing here is used by a result.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from scripts.command import run
from scripts.data.settings import addresses, is_url
from scripts.gpu import Gpu, given_gpus, installed_gpus
from scripts.study import costs, resources
from scripts.study.config import load
from scripts.study.measure import measure_backbones
from scripts.study.needs import (
    Needs,
    backbones_of,
    kept_bytes,
    kind_of,
    machine_of,
    max_history,
    needs_of,
    on_gpu,
    seconds_of,
    speed_of,
    start_seconds,
)
from scripts.study.schema import Backbone, Study

#: Bytes that come to the disk and stay, and the most that are there at a time.
DISK = "Disk: {} stay, at most {} while models train"


def preflight(study: Study) -> str:
    """A short text on what the checked study still needs, and each stage more than those before it;
    its files are looked for below the working directory."""
    gpus, needs = find_gpus(), needs_of(study)
    lines = [
        f"Preflight of the study '{study.study}' (all numbers are rough)",
        "GPU: " + ("; ".join(f"{g.name}, {g.memory_gb:.0f} GB" for g in gpus) or "no GPU found"),
    ]
    for number, need in needs.items():
        if len(needs) > 1:
            lines.append(f"Stage {number}" + ": besides, it needs" * (number > min(needs)))
        models = sum(kind_of(path) == "models" for path in need.files)
        lines += [
            *download_lines(need.downloads),
            f"Models: {models} to train, {need.trained} already there",
            *time_lines([need], gpus),
            *memory_lines(need, gpus),
            DISK.format(*map(size, disk_of([need], gpus))),
        ]
    stay, peak = disk_of(needs.values(), gpus)
    if len(needs) > 1:
        lines += ["All stages", *time_lines(needs.values(), gpus)]
        lines.append(DISK.format(size(stay), size(peak)))
    free = shutil.disk_usage(Path.cwd()).free
    too_little = "; TOO LITTLE, free some or work in another folder" * (free < peak)
    lines += [f"Free disk: {size(free)}{too_little}", *speed_lines(needs.values(), gpus)]
    if missing := missing_paths(study):
        lines.append(missing_message(missing))
    return "\n".join(lines)


def missing_gpu(study: Study) -> str:
    """What is wrong where `device` is `cuda`, there is no GPU and files are missing that ask for
    one; else empty."""
    missing = [path for need in needs_of(study).values() for path in need.files]
    if study.device != "cuda" or find_gpus() or not missing:
        return ""
    return (
        f"device is cuda, but no usable GPU was found, and {len(missing)} models, lists and the "
        f"like are still to be made (the first: {missing[0]}). Run on a machine with a GPU; or add "
        "`--config device=cpu` (slow); or add `--config missing_gpu=warn` where jobs run "
        "elsewhere, as on a cluster's head node"
    )


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
    given = resources.given_lists(study.baselines)
    missing |= {path: key for path, key in given if not Path(path).is_file()}
    return {path: key for path, key in missing.items() if path not in made}


def missing_message(missing: dict[str, str]) -> str:
    """What is missing of the user's own, and the remedy."""
    lines = ["Missing files and folders that the study reads:"]
    lines += [f"  {path} ({key})" for path, key in missing.items()]
    lines.append(f"Put them there, or mend the keys; paths start at {Path.cwd()}")
    return "\n".join(lines)


def download_lines(downloads: dict[str, float]) -> list[str]:
    """What is downloaded, and how much it is."""
    if not downloads:
        return ["Downloads: nothing"]
    total = f"Downloads: {len(downloads)}, about {size(1e9 * sum(downloads.values()))} in all"
    return [total] + [
        f"  {file}{f'  {size(1e9 * gigabytes)}' if gigabytes else ''}"
        for file, gigabytes in downloads.items()
    ]


def time_lines(needs: Collection[Needs], gpus: list[Gpu]) -> list[str]:
    """Time of training and decoding, by backbone and in all, and what is not counted."""
    models: Counter[str] = Counter()
    training: Counter[str] = Counter()
    decoding: Counter[str] = Counter()
    uncounted = set()
    for need in needs:
        for path, cell in need.files.items():
            if cell.baseline:
                uncounted.add("trained baselines (minutes each)")
                continue
            source = need.part.backbones[cell.backbone].source
            spent = seconds_of(need.part, path, cell, speed_of(need.part, cell.backbone, gpus))
            if not source.parameters:
                uncounted.add(f"{cell.backbone}, as its source.parameters is not given")
            elif spent is None:
                uncounted.add(f"{cell.dataset}, whose examples are counted when it is prepared")
            trains = kind_of(path) == "models"
            models[cell.backbone] += trains
            spent = (spent or 0.0) + start_seconds(path, cell)
            (training if trains else decoding)[cell.backbone] += spent
    lines = [
        f"Time of {name}: {models[name]} models in {duration(training[name])}, decoding in "
        f"{duration(decoding[name])}"
        for name in sorted(models)
    ]
    total = training.total() + decoding.total()
    if lines:
        lines.append(
            f"Time in all: training {duration(training.total())}, decoding "
            f"{duration(decoding.total())}; {total / 86_400:.1f} days on one device"
        )
    return lines + [f"  not counted: {what}" for what in sorted(uncounted)] * bool(lines)


def memory_lines(need: Needs, gpus: list[Gpu]) -> list[str]:
    """GPU memory for the fine-tuning of each backbone, by the longest history of its data sets."""
    datasets: dict[tuple[str, int], dict[str, None]] = {}
    for path, cell in need.files.items():
        if kind_of(path) == "models" and on_gpu(need.part, gpus):
            key = (cell.backbone, max_history(need.part, cell.dataset))
            datasets.setdefault(key, {})[cell.dataset] = None
    return [
        f"Memory for {name} on {', '.join(of)}: {memory(need.part.backbones[name], items, gpus)}"
        for (name, items), of in sorted(datasets.items())
    ]


def memory(backbone: Backbone, items: int, gpus: list[Gpu]) -> str:
    """GPU memory for a fine-tuning on histories of at most so many items, with the formula."""
    training, parameters = backbone.training, backbone.source.parameters
    if not parameters:
        return "unknown, as source.parameters is not given"
    need = costs.training_memory(backbone.source, training, items)
    how, adapters = ("LoRA", " and the adapters'") if training.lora else ("full fine-tuning", "")
    usable = [costs.USABLE_MEMORY * 1e9 * gpu.memory_gb for gpu in gpus]
    too_big = bool(usable) and need.total > max(usable)
    return (
        f"{size(need.total)} = {size(need.weights)} ({how} at {need.per_parameter} bytes per "
        f"parameter{adapters}, {parameters:.3g} parameters) + activations at "
        f"{need.token_bytes / 1e6:.1f} MB x {need.tokens} tokens at a time"
        + "; MORE THAN THE GPU HAS: lower micro_batch_size, or set training.lora"
        * too_big
    )


def disk_of(needs: Collection[Needs], gpus: list[Gpu]) -> tuple[float, float]:
    """Bytes that stay, and the most that are there at a time: with the checkpoints beside a model
    while it trains, one model after the other."""
    sources = [need.part.backbones[name].source for need in needs for name in backbones_of(need)]
    stay = peak = 0.0
    for folder, source in dict(resources.pretrained(sources)).items():
        if source.kind == "gguf-wheel" and not (Path(folder) / "config.json").is_file():
            stay += costs.NUMBER_BYTES["fp32"] * source.parameters
    for need in needs:
        stay += 1e9 * sum(need.downloads.values())
        for path, cell in need.files.items():
            stay += kept_bytes(need.part, path, cell, on_gpu(need.part, gpus))
            if kind_of(path) == "models":
                backbone = need.part.backbones[cell.backbone]
                peak = max(peak, stay + costs.checkpoint_bytes(backbone.source, backbone.training))
    return stay, max(stay, peak)


def speed_lines(needs: Collection[Needs], gpus: list[Gpu]) -> list[str]:
    """Where the times of each backbone come from."""
    found: dict[tuple[str, bool], set[str]] = {}
    for need in needs:
        for name in backbones_of(need):
            measured = speed_of(need.part, name, gpus).token is not None
            found.setdefault((machine_of(need.part, name, gpus), measured), set()).add(name)
    rough = "up to several times off; `python -m scripts.study.preflight --measure` measures them"
    return [
        f"Times of {', '.join(sorted(names))}: "
        + (f"measured on {machine}" if measured else f"of {machine}, {rough} here")
        for (machine, measured), names in sorted(found.items())
    ]


def size(amount: float) -> str:
    """A number of bytes in words."""
    gigabytes = amount / 1e9
    if gigabytes >= 1:
        return f"{gigabytes:,.0f} GB" if gigabytes >= 10 else f"{gigabytes:.1f} GB"
    return f"{gigabytes * 1e3:.0f} MB"


def duration(seconds: float) -> str:
    """A duration in words."""
    for unit, length in (("hours", 3600), ("minutes", 60)):
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


def tell(configfile: Path = Path("config/config.yaml"), measure: bool = False) -> None:
    """Print what a study still needs.

    Args:
        configfile: the study's YAML file; its files are looked for below the working directory.
        measure: first train and decode shortly here with each of its backbones, a minute or two
            each on a GPU, and count with these times from now on.
    """
    study = load(configfile)
    if measure:
        for line in measure_backbones(study, find_gpus()):
            print(line, flush=True)
    print(preflight(study))
    if message := missing_gpu(study):
        print(f"Warning: {message}")


if __name__ == "__main__":
    run(tell)
