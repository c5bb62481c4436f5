"""What training and decoding take on this machine: the workflow's own steps, run shortly."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from scripts.command import InputError
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.decode.settings import Constrained, Decoder, Grounded
from scripts.files import read_json, write_json, write_table
from scripts.finetune.settings import Objective
from scripts.gpu import Gpu
from scripts.study import resources
from scripts.study.costs import STEPS
from scripts.study.needs import MEASURED, cores_of, machine_of, on_gpu, shape_of
from scripts.study.schema import Study

#: Words of a made-up title, about as many tokens as a usual one has.
WORDS = 5
#: Optimiser steps and batches of decoding that are timed.
TRAINED, DECODED = 5, 4


def measure_backbones(study: Study, gpus: list[Gpu]) -> Iterator[str]:
    """Train and decode shortly with every backbone that is there, on made-up data; `MEASURED` then
    has its times on this machine.

    Yields:
        what was found, a line for each backbone.

    Raises:
        InputError: `device` is `cuda` and there is no GPU.
    """
    if study.device == "cuda" and not gpus:
        raise InputError("device: cuda was asked for, but there is no GPU here to measure")
    MEASURED.parent.mkdir(exist_ok=True)
    for name, backbone in study.backbones.items():
        with TemporaryDirectory(dir=MEASURED.parent) as folder:
            try:
                found = measured(study, name, Path(folder), on_gpu(study, gpus))
            except InputError as error:
                yield f"{name}: not measured, as {error}"
                continue
        known = read_json(MEASURED, needed=False)
        machine = known.setdefault(machine_of(study, name, gpus), {})
        machine[shape_of(backbone)] = found
        write_json(known, MEASURED, sealed=False)
        times = [f"{1e6 * found['token']:.3g} microseconds a token in training"]
        times += [f"{found['decoded'][kind]:.2g} s an example {kind}" for kind in found["decoded"]]
        busy = "; the machine was busy, so that they are too long" * (not gpus and found["busy"])
        peak = f"peak {found['memory_mb'] / 1024:.2g} GiB in training"
        yield f"{name}: {', '.join(times)}; {peak}{busy}"


def measured(study: Study, name: str, folder: Path, gpu: bool) -> dict[str, Any]:
    """What a few steps of CFT and a few batches of each search take.

    Returns:
        seconds of a `token` in training and of an example `decoded` with each kind of decoder, the
        training's peak memory, whether other work took the CPU's cores, and the host.

    Raises:
        InputError: the backbone is not there, or a step failed.
    """
    backbone = study.backbones[name]
    training = backbone.training
    batch = min(2 * training.micro_batch_size, training.batch_size // training.processes)
    short = {"batch_size": batch, "processes": 1, "epochs": 1}
    short |= {"train_examples": None, "valid_examples": None}
    sizes = {"train": TRAINED * batch, "valid": batch, "test": DECODED}
    sizes["test"] *= max(decoder.batch_size for decoder in study.decoders.values())
    write_made_up(folder, sizes)
    prompt = next(iter(study.datasets.values())).prompt.model_dump_json()
    common = {"catalogue": folder / "catalogue.parquet", "prompt": prompt, "device": study.device}

    def step(module: str, **options: Any) -> None:
        """Run a step of the workflow."""
        command = [sys.executable, "-m", "scripts.gpu", str(int(gpu)), sys.executable, "-m", module]
        command += [word for key, value in options.items() for word in (f"--{key}", str(value))]
        environment = {
            "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{os.getenv('PYTHONPATH', '')}",
            "OMP_NUM_THREADS": str(cores_of(study, name)),
        }
        done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)
        if done.returncode:
            raise InputError(f"{module} failed: {done.stderr.strip().splitlines()[-1]}")

    if backbone.source.kind == "scratch":
        start = folder / "backbone"
        settings = backbone.source.model_copy(update={"warm_start": None}).model_dump_json()
        train = folder / "train.parquet"
        step("scripts.backbones.scratch", train=train, settings=settings, output=start, **common)
    else:
        start = Path(resources.pretrained_folder(backbone.source))
        if not (start / "config.json").is_file():
            raise InputError(
                f"{start} is not there; get it with `snakemake --cores 1 {start}/backbone.json`"
            )
    step(
        "scripts.finetune.train",
        backbone=start,
        train=folder / "train.parquet",
        valid=folder / "valid.parquet",
        objective=Objective(alpha=0.1, beta=0.25).model_dump_json(),
        training=training.model_copy(update=short).model_dump_json(),
        seed=0,
        output=folder / "model",
        **common,
    )
    record = read_json(folder / "model" / "run.json")
    model = {"model": folder / "model", "backbone": start, **common}
    model |= {"max_tokens": training.max_tokens, "precision": training.precision}
    decoded: dict[str, float] = {}
    by_search: dict[str, float] = {}
    for decoder in study.decoders.values():
        search = search_of(decoder).model_dump_json(exclude={"label"})
        if search not in by_search:
            step(
                "scripts.decode.recommend",
                **{f"finetuned.{key}": value for key, value in model.items()},
                test=folder / "test.parquet",
                decoder=search,
                histories='["with", "without"]',
                test_examples=DECODED * decoder.batch_size,
                output=folder / "lists",
            )
            many, one = (read_json(folder / "lists" / f"{h}.json") for h in ("with", "without"))
            # Without history there is one prompt, so that what is done once falls out; a GPU takes
            # as long for it as for a batch.
            rows = many["prompts"] - (decoder.batch_size if gpu else 1)
            by_search[search] = (many["seconds"] - one["seconds"]) / rows
        decoded.setdefault(decoder.kind, by_search[search])
    return {
        "token": record["seconds_per_step"] / record["tokens_per_step"],
        "decoded": decoded,
        "memory_mb": record["peak_memory_mb"],
        "busy": record["load_average"] > record["cores"],
        "host": platform.node(),
    }


def search_of(decoder: Decoder) -> Decoder:
    """The search that a decoder costs: merging lists and an assistant cost little besides. A model
    that is hardly trained would write on and on, so that texts are as long as usual at most."""
    if isinstance(decoder, Grounded):
        changes = {"kind": "grounded", "max_new_tokens": min(decoder.max_new_tokens, STEPS)}
        return Grounded.model_validate(decoder.model_dump(exclude={"label"}) | changes)
    kept = decoder.model_dump(include={"beams", "length_penalty", "batch_size", "widen_to"})
    return Constrained.model_validate(kept | {"kind": "constrained"})


def write_made_up(folder: Path, sizes: dict[str, int], words: int = WORDS) -> None:
    """A catalogue with titles of about so many words, and splits of these sizes, as prepared."""
    examples, titles = made_up(sum(sizes.values()), words, seed=0)
    examples = examples.assign(user="user", timestamp=0)
    catalogue = pd.DataFrame(
        {
            "item_id": range(len(titles)),
            "item": [str(i) for i in range(len(titles))],
            "title": titles,
            "train_count": 1,
            "popularity_group": 0,
        }
    )
    write_table(catalogue, folder / "catalogue.parquet", CATALOGUE)
    ends = np.cumsum([*sizes.values()]).tolist()
    for split, end in zip(sizes, ends, strict=True):
        rows = examples.iloc[end - sizes[split] : end]
        write_table(rows, folder / f"{split}.parquet", EXAMPLES)


def made_up(count: int, words: int, seed: int) -> tuple[pd.DataFrame, list[str]]:
    """Examples with ten titles each, of about as many made-up words."""
    rng = np.random.default_rng(seed)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in ("a", "e", "i", "o", "u", "an", "er")]
    lexicon = ["".join(rng.choice(syllables, rng.integers(1, 4))).title() for _ in range(20_000)]
    frequency = 1 / np.arange(1, len(lexicon) + 1)
    counts = np.clip(rng.poisson(words, 3000), 1, 2 * words)
    drawn = rng.choice(lexicon, counts.sum(), p=frequency / frequency.sum())
    titles = [" ".join(part) for part in np.split(drawn, counts.cumsum()[:-1])]
    chosen = rng.integers(len(titles), size=(count, 11))
    frame = {"example_id": np.arange(count), "history": [*chosen[:, 1:]], "target": chosen[:, 0]}
    return pd.DataFrame(frame), titles
