"""What grounding costs: ours, and the full-matrix way.

    python -m tests.benchmarks.grounding
    python -m tests.benchmarks.grounding --examples 200 --titles 5000

Made-up vectors, normally distributed: those of an example's beams lie around its target's, further
away from beam to beam. Both ways start from the titles' vectors, get lists of several beams merged
by rank, and end in the mean metrics. `plain` is written anew from the description of the published
code: the whole matrix of distances of each beam, all of it sorted, the beams' orders concatenated,
and a loop in pandas over the examples. `ours` is `scripts.decode.grounded`, as much at a time as it
takes itself.

Every run has a process of its own; rounds take turns, and values are medians over the rounds. On a
machine shared with other work CPU time is the fairer one.
Memory is the peak of the process beyond what it held with the titles' vectors alone.
"""

from __future__ import annotations

import resource
import time
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scripts.command import run
from scripts.contracts import CUTOFFS
from scripts.decode.grounded import TEXTS, merged, nearest
from scripts.metrics import at_cutoffs
from tests.benchmarks.measure import alone, bar, machine

BEAMS, WIDTH, DEPTH = 5, 896, 50
NOISES = 997


class Vectors:
    """Vectors of titles and of generated texts, the same in every process."""

    def __init__(self, examples: int, titles: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.titles = torch.randn(titles, WIDTH, generator=generator)
        self.noise = torch.randn(NOISES, WIDTH, generator=generator)
        self.targets = torch.randint(titles, (examples,), generator=generator)

    def texts(self, indices: Tensor) -> Tensor:
        """Vectors of texts; text i is beam i % BEAMS of example i // BEAMS."""
        scale = 3 + indices % BEAMS + indices // BEAMS % 10
        noise = self.noise[indices % NOISES] * scale[:, None]
        return self.titles[self.targets[indices // BEAMS]] + noise


def plain(vectors: Vectors, examples: int) -> tuple[pd.Series, dict[str, float]]:
    """Mean metrics, and the seconds of each part."""
    clock = [time.perf_counter()]
    numbers = torch.arange(examples) * BEAMS
    tables = [torch.cdist(vectors.texts(numbers + beam), vectors.titles) for beam in range(BEAMS)]
    clock.append(time.perf_counter())
    orders = [table.argsort(dim=1) for table in tables]
    clock.append(time.perf_counter())
    by_rank = torch.stack(orders, dim=2).flatten(1).numpy()
    clock.append(time.perf_counter())
    rows = []
    for ranked, target in zip(by_rank, vectors.targets.tolist(), strict=True):
        once = pd.Series(ranked).drop_duplicates().reset_index(drop=True)
        rank = once.index[once == target][0]
        row = {}
        for k in CUTOFFS:
            row[f"hr@{k}"] = 1.0 if rank < k else 0.0
            row[f"ndcg@{k}"] = np.log(2) / np.log(rank + 2) if rank < k else 0.0
        rows.append(row)
    means = pd.DataFrame(rows).mean()
    clock.append(time.perf_counter())
    parts = ["distances", "sort", "concatenation", "pandas loop"]
    return means, dict(zip(parts, np.diff(clock), strict=True))


def ours(vectors: Vectors, examples: int) -> tuple[pd.Series, dict[str, float]]:
    """Mean metrics, and the seconds of each part."""
    clock = [time.perf_counter()]
    chunks = torch.arange(examples * BEAMS).split(TEXTS)
    lists = [nearest(vectors.texts(chunk), vectors.titles, DEPTH)[0].numpy() for chunk in chunks]
    clock.append(time.perf_counter())
    beams = np.concatenate(lists).reshape(examples, BEAMS, DEPTH)
    ranked = np.stack([merged(list(one)).titles for one in beams])
    hit = ranked == vectors.targets.numpy()[:, None]
    rank = np.where(hit.any(1), hit.argmax(1) + 1.0, np.nan)
    means = pd.DataFrame(at_cutoffs(rank, CUTOFFS, DEPTH)).mean()
    clock.append(time.perf_counter())
    return means, dict(zip(["nearest titles", "merging, metrics"], np.diff(clock), strict=True))


WAYS = {"plain": plain, "ours": ours}


def measured(way: str, examples: int, titles: int, threads: int) -> dict[str, Any]:
    """One way in this process: seconds of its parts and in all, CPU seconds, peak MiB, metrics."""
    torch.set_num_threads(threads)
    vectors = Vectors(examples, titles)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with torch.inference_mode():
        means, parts = WAYS[way](vectors, examples)
    cpu = time.process_time() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024  # Linux: KiB.
    return parts | {"time": sum(parts.values()), "CPU time": cpu, "memory": memory, "means": means}


def benchmark(
    examples: int = 1000, titles: int = 50_000, rounds: int = 3, threads: int = 1
) -> None:
    """Print seconds, memory and ratios, and memory against the number of examples.

    Args:
        examples: test examples.
        titles: size of the catalogue.
        rounds: runs of each way.
        threads: CPU threads of each.
    """
    print(f"{machine('torch')}, {threads} threads", flush=True)
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, found in runs.items():
            found.append(alone(measured, way, examples, titles, threads))
    print(f"{examples:,} examples x {BEAMS} beams x {titles:,} titles, width {WIDTH}:")
    each = {way: pd.DataFrame(found).drop(columns="means") for way, found in runs.items()}
    medians = pd.DataFrame({way: frame.median() for way, frame in each.items()})
    print(medians.round(2).to_string())
    for what, least in {"time": 5.5, "CPU time": 5.5, "memory": 20}.items():
        ratio = medians.loc[what, "plain"] / medians.loc[what, "ours"]
        print(f"  {what}: plain / ours {bar(ratio, least)}")
    means = pd.DataFrame({way: found[0]["means"] for way, found in runs.items()})
    print(f"  largest difference of a metric: {(means['plain'] - means['ours']).abs().max():.1g}")
    for count in (examples, 2 * examples, 4 * examples):
        memory = alone(measured, "ours", count, titles, threads)["memory"]
        print(f"  ours, {count:,} examples: {memory:.0f} MiB", flush=True)


if __name__ == "__main__":
    run(benchmark)
