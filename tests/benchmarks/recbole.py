"""SASRec and GRU4Rec against RecBole's on MovieLens-100K: the same split, the same full ranking.

RecBole 1.2.1 needs old libraries, so it gets an environment of its own:

    python3.11 -m venv recbole
    recbole/bin/pip install recbole==1.2.1 "numpy<2" "pandas<2.2" "setuptools<81" torch==2.13.0
    pip download --no-deps recbole==1.2.1
    OMP_NUM_THREADS=1 MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=8589934592 \
        python -m tests.benchmarks.recbole --peer recbole/bin/python \
        --wheel recbole-1.2.1-py3-none-any.whl --folder scratch

The ratings come inside RecBole's wheel and are prepared by our rules; RecBole gets our examples as
its benchmark files. Both have the same width, layers, heads, dropout, learning rate, batch size,
patience and softmax cross-entropy over all items; all else of RecBole is its default. Both are
stopped by NDCG@10 on our validation split. Metrics are over all items, an item being its own
target, as RecBole counts. The allocator's settings are those of the workflow, for both.

Printed are all runs, then means, standard deviations and median seconds. Seconds are of a training
epoch without its validation, the median over a run's epochs; CPU seconds say more where other work
is going on.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter

from scripts.baselines import sequential
from scripts.baselines.sequential_model import scorer
from scripts.baselines.settings import Sequential
from scripts.command import run
from scripts.contracts import CATALOGUE, EXAMPLES, SPLITS
from scripts.data.export import export_recbole
from scripts.data.prepare import prepare
from scripts.data.settings import MovieLensWheel, Preparation
from scripts.files import read_table, sha256
from scripts.metrics import gains, hits
from tests.benchmarks.measure import machine

DATASET = "movielens"
CPU = torch.device("cpu")
Kind = Literal["gru4rec", "sasrec"]
NAMES = {"gru4rec": "GRU4Rec", "sasrec": "SASRec"}


def prepared(wheel: Path, folder: Path) -> Path:
    """MovieLens-100K by our rules, and its examples as RecBole's benchmark files."""
    data = folder / "data"
    if not (data / "preparation.json").is_file():
        source = MovieLensWheel(
            kind="movielens-wheel",
            requirement="recbole==1.2.1",
            sha256=sha256(wheel),
            name="recbole/dataset_example/ml-100k/ml-100k",
        )
        rules = Preparation(start=None, end=None, minimum_items=0)
        prepare(source, {"wheel": wheel}, rules, data)
    export_recbole(data, folder / DATASET)
    return data


def ours(data: Path, settings: Any, seed: int) -> dict[str, Any]:
    """Train our model and measure it, as the peer does."""
    examples = {s: read_table(data / f"examples/{s}.parquet", EXAMPLES) for s in SPLITS}
    items = len(read_table(data / "catalogue.parquet", CATALOGUE, ["item_id"]))
    longest = int(examples["train"]["history"].str.len().max())
    epochs: list[tuple[float, float]] = []
    one_epoch = sequential.train_epoch

    def timed(*args: Any) -> float:
        wall, cpu = time.perf_counter(), time.process_time()
        loss = one_epoch(*args)
        epochs.append((time.perf_counter() - wall, time.process_time() - cpu))
        return loss

    sequential.train_epoch = timed
    try:
        model = sequential.train_model(
            examples["train"], examples["valid"], items, longest, settings, seed, CPU
        )
    finally:
        sequential.train_epoch = one_epoch
    ranks = {}
    for split in ("valid", "test"):
        targets = torch.from_numpy(examples[split]["target"].to_numpy(np.int64))
        score = scorer(model, examples[split]["history"], CPU)
        found = []
        for start in range(0, len(targets), 2000):
            scores, part = score(slice(start, start + 2000)), targets[start : start + 2000, None]
            found.append((scores > scores.gather(1, part)).sum(1).numpy() + 1.0)
        ranks[split] = np.concatenate(found)
    return {
        "validation": gains(ranks["valid"], 10).mean(),
        "hr": hits(ranks["test"], 10).mean(),
        "ndcg": gains(ranks["test"], 10).mean(),
        "epochs": epochs,
    }


def theirs(peer: Path, folder: Path, settings: Any, seed: int, threads: int) -> dict[str, Any]:
    """The same in RecBole's environment."""
    width, dropout = settings.hidden_size, settings.dropout
    options = {
        "seed": seed,
        "hidden_size": width,
        "learning_rate": settings.learning_rate,
        "train_batch_size": settings.batch_size,
        "stopping_step": settings.patience,
        "epochs": settings.epochs,
        "MAX_ITEM_LIST_LENGTH": 10,
    }
    if settings.kind == "sasrec":
        options |= {"n_layers": settings.layers, "n_heads": settings.heads, "inner_size": width}
        options |= {"hidden_dropout_prob": dropout, "attn_dropout_prob": dropout}
    else:
        options |= {"num_layers": settings.layers, "embedding_size": width, "dropout_prob": dropout}
    arguments = {
        "folder": str(folder.resolve()),
        "dataset": DATASET,
        "model": NAMES[settings.kind],
        "threads": threads,
        "options": options,
    }
    script = Path(__file__).with_name("recbole_peer.py").resolve()
    # Not resolved: the link is what makes it the environment's Python. -P keeps this very module,
    # which lies beside the script, from being taken for RecBole.
    command = [str(peer.absolute()), "-P", str(script), json.dumps(arguments)]
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def compare(
    peer: Path,
    wheel: Path,
    folder: Path,
    kinds: list[Kind] = ["gru4rec", "sasrec"],  # noqa: B006 - never changed
    seeds: list[int] = [0, 1, 2],  # noqa: B006 - never changed
    patience: int = 20,
    threads: int = 1,
) -> None:
    """Run both libraries, ours first, and print the table.

    Args:
        peer: Python of RecBole's environment.
        wheel: RecBole's wheel.
        folder: where data and checkpoints are written.
        kinds: models to compare.
        seeds: seeds of both.
        patience: epochs without a better validation NDCG@10 before a run is stopped.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    data = prepared(wheel, folder)
    runs = []
    for seed in seeds:
        for kind in kinds:
            settings = TypeAdapter(Sequential).validate_python({"kind": kind, "patience": patience})
            for library in ("ours", "RecBole"):
                if library == "ours":
                    found = ours(data, settings, seed)
                else:
                    found = theirs(peer, folder, settings, seed, threads)
                wall, cpu = np.median(found["epochs"], axis=0)
                found |= {"epochs": len(found["epochs"]), "wall_s": wall, "cpu_s": cpu}
                runs.append({"model": NAMES[kind], "library": library, "seed": seed} | found)
                print(json.dumps(runs[-1]), flush=True)
    print(f"{machine('torch')}, {threads=}")
    groups = pd.DataFrame(runs).groupby(["model", "library"], sort=False)
    print(groups[["validation", "hr", "ndcg"]].agg(["mean", "std"]).round(4).to_string())
    print(groups[["wall_s", "cpu_s"]].median().round(2).to_string())


if __name__ == "__main__":
    run(compare)
