"""What grounding costs: ours, and the full-matrix way.

    python -m tests.benchmarks.grounding
    python -m tests.benchmarks.grounding --examples 200 --titles 5000

Made-up vectors, normally distributed: those of an example's beams lie around its target's, further
away from beam to beam. Both ways start from the titles' vectors, get lists of several beams merged
by rank, and end in the mean metrics. `plain` is written anew from the description of the published
code: the whole matrix of distances of each beam, all of it sorted, the beams' orders concatenated,
and a loop in pandas over the examples. `ours` is `scripts.decode.grounded`, as much at a time as it
takes itself.

Every run has a process of its own; rounds take turns, and values are medians over the rounds.
Memory is the peak of the process beyond what it held with the titles' vectors alone.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scripts.command import run
from scripts.contracts import CUTOFFS
from scripts.decode.grounded import TEXTS, merged, nearest
from scripts.evaluate.ranking import at_cutoffs

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
    ranked = np.stack([merged(list(one))[0] for one in beams])
    hit = ranked == vectors.targets.numpy()[:, None]
    rank = np.where(hit.any(1), hit.argmax(1) + 1.0, np.nan)
    means = pd.DataFrame(at_cutoffs(rank, CUTOFFS, DEPTH)).mean()
    clock.append(time.perf_counter())
    return means, dict(zip(["nearest titles", "merging, metrics"], np.diff(clock), strict=True))


WAYS = {"plain": plain, "ours": ours}


def peak_mb() -> float:
    """Peak resident memory of this process so far (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def alone(
    way: str, examples: int, titles: int, threads: int
) -> tuple[pd.Series, dict[str, float], float]:
    """Mean metrics, seconds of each part and peak MiB of one way."""
    torch.set_num_threads(threads)
    vectors = Vectors(examples, titles)
    before = peak_mb()
    with torch.inference_mode():
        means, seconds = WAYS[way](vectors, examples)
    return means, seconds, peak_mb() - before


def in_own_process(
    way: str, examples: int, titles: int, threads: int
) -> tuple[pd.Series, dict[str, float], float]:
    """`alone` in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(alone, way, examples, titles, threads).result()


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
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in cpus if line.startswith("model name")]
    print(
        f"{next(iter(names), platform.machine())}, {os.cpu_count()} cores, {threads} threads, "
        f"torch {torch.__version__}, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    runs: dict[str, list[tuple[pd.Series, dict[str, float], float]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            runs[way].append(in_own_process(way, examples, titles, threads))
            print(f"  {way}: {sum(runs[way][-1][1].values()):.1f} s", flush=True)
    print(f"{examples:,} examples x {BEAMS} beams x {titles:,} titles, width {WIDTH}:")
    totals, memory = {}, {}
    for way, found in runs.items():
        parts = pd.DataFrame([seconds for _, seconds, _ in found]).median()
        totals[way] = float(np.median([sum(seconds.values()) for _, seconds, _ in found]))
        memory[way] = float(np.median([megabytes for *_, megabytes in found]))
        told = ", ".join(f"{part} {value:.2f}" for part, value in parts.items())
        print(f"  {way}: {totals[way]:.1f} s ({told}), {memory[way]:,.0f} MiB")
    speed, space = totals["plain"] / totals["ours"], memory["plain"] / memory["ours"]
    print(f"  time   {speed:.1f} x (bar: at least 5.5 x, {'held' if speed >= 5.5 else 'MISSED'})")
    print(f"  memory 1/{space:.1f} (bar: at most 1/20, {'held' if space >= 20 else 'MISSED'})")
    means = pd.DataFrame({way: found[0][0] for way, found in runs.items()})
    print(f"  largest difference of a metric: {(means['plain'] - means['ours']).abs().max():.1g}")
    print(means.T.round(4).to_string())
    for count in (examples, 2 * examples, 4 * examples):
        _, _, megabytes = in_own_process("ours", count, titles, threads)
        print(f"  ours, {count:,} examples: {megabytes:.0f} MiB", flush=True)


if __name__ == "__main__":
    run(benchmark)
