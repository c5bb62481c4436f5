"""Time and memory of the preparation against the published algorithm and the bare inflate.

`python -m tests.benchmarks.raw_data --folder <scratch folder with 5 GB free>` makes the raw files
where they are not there yet, runs every candidate in a process of its own, and reports. The
published algorithm needs about 2 kB of memory a review.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from scripts.command import InputError, run
from tests.benchmarks.measure import machine

#: Sizes of the pools that users and items are drawn from, per review.
USERS, ITEMS = 0.5, 0.05
ROOT = Path(__file__).parents[2]


class Measurement(NamedTuple):
    """One run of one candidate."""

    reviews: int
    candidate: str
    seconds: float
    cpu_seconds: float
    peak_mb: float
    load: float
    """Load average of the last minute, just before the run."""


def benchmark(
    folder: Path,
    reviews: list[int] = [1_000_000, 3_000_000, 10_000_000],  # noqa: B006 - never changed
    published: int = 3_000_000,
    repeats: int = 3,
    published_repeats: int = 1,
    seed: int = 0,
) -> None:
    """Measure every candidate at every size, repeats interleaved, and report.

    Args:
        folder: Scratch folder of the raw files (about 210 bytes a review) and results.
        reviews: Numbers of reviews.
        published: The published algorithm runs on sizes up to this one.
        repeats: Runs of each candidate at each size.
        published_repeats: Runs of the published algorithm, which takes minutes.
        seed: Seed of the made-up reviews.
    """
    print(machine(), flush=True)
    sizes = [raw_files(folder, n, seed) for n in sorted(reviews)]
    rows = []
    for repeat in range(repeats):
        for n, files in zip(sorted(reviews), sizes, strict=True):
            slow = n <= published and repeat < published_repeats
            for candidate, command in candidates(files, folder / "output", slow):
                rows.append(row := Measurement(n, candidate, *measure(command)))
                print(
                    f"{n:>11,} {candidate:<22} {row.seconds:8.2f} s {row.cpu_seconds:8.2f} "
                    f"CPU s {row.peak_mb:9.1f} MB, load {row.load:.2f}",
                    flush=True,
                )
    # Imported late: a child's peak memory is never below what its parent holds when it starts it.
    from tests.benchmarks.raw_data_report import report

    report(rows)


def raw_files(folder: Path, reviews: int, seed: int) -> Path:
    """Make the raw files of one size where they are not there yet."""
    files = folder / f"{reviews}-{seed}"
    if not files.exists():
        options = {"folder": files, "reviews": reviews, "seed": seed}
        options |= {"users": int(USERS * reviews), "items": int(ITEMS * reviews)}
        pairs = [(f"--{name}", str(value)) for name, value in options.items()]
        measure(["-m", "tests.benchmarks.generate", *chain.from_iterable(pairs)])
    return files


def candidates(files: Path, output: Path, published: bool) -> list[tuple[str, list[str]]]:
    """Name and arguments of Python of every candidate."""
    raw = {"reviews": str(files / "reviews.json.gz"), "metadata": str(files / "meta.json.gz")}
    floor = ["-m", "tests.benchmarks.floors", "--folder", str(files), "--kind"]
    ours = [
        *("-m", "scripts.data.prepare", "--source", json.dumps({"kind": "amazon-2018"} | raw)),
        *("--files", json.dumps(raw), "--settings", "{}", "--output", str(output / "ours")),
    ]
    found = [
        ("empty interpreter", ["-c", "pass"]),
        ("imports", ["-c", "import scripts.data.prepare"]),
        ("inflate (isal)", [*floor, "isal"]),
        ("inflate (gzip)", [*floor, "gzip"]),
        ("ours", ours),
    ]
    if published:
        options = ("--reviews", raw["reviews"], "--metadata", raw["metadata"])
        target = ("--output", str(output / "published"))
        found.append(("published", ["-m", "tests.benchmarks.published", *options, *target]))
    return found


def measure(arguments: list[str]) -> tuple[float, float, float, float]:
    """Run Python in a process of its own: seconds, CPU seconds, peak MB, load average before.

    Raises:
        InputError: the process fails; its own message is in front.
    """
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=log
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            message = log.read().decode(errors="replace")[-2000:]
            raise InputError(f"{' '.join(arguments)} failed:\n{message}")
    # Linux counts kibibytes, macOS bytes.
    peak_mb = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return seconds, usage.ru_utime + usage.ru_stime, peak_mb, load


if __name__ == "__main__":
    run(benchmark)
