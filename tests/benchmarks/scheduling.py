"""CPU seconds of Snakemake's own process on a made-up DAG of jobs that do nothing.

    python -m tests.benchmarks.scheduling --jobs 300 1000

Chains of jobs that write an empty file run first, then jobs that sleep, two at a time; others are
always ready, as a round that finds none ends its timers. `running` is what Snakemake takes until
the first are done; `waiting` is the share of a core that it takes while all that it can do is wait.
Both are measured for Snakemake as it comes, and as this workflow starts it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from scripts.command import run
from tests.benchmarks.measure import machine

ROOT = Path(__file__).parents[2]
#: How this workflow starts Snakemake.
OURS = """
from scripts.study.preflight import without_timers
onstart: without_timers(workflow.scheduler)
"""
#: Twenty jobs are ready at a time.
RULES = """
rule all:
    input: expand("done/{number}", number=range(JOBS)), expand("slept/{number}", number=range(4))
rule quick:
    input: lambda wildcards: [f"done/{n}" for n in [int(wildcards.number) - 20] if n >= 0]
    output: "done/{number}"
    priority: 1
    shell: "touch {output}"
rule slow:
    output: "slept/{number}"
    shell: "sleep SECONDS; touch {output}"
"""


def measure(jobs: int, seconds: int, ours: bool) -> tuple[float, float]:
    """CPU seconds until the jobs are done, and the share of a core while the rest sleeps."""
    profile = str(ROOT / "profiles/default") if ours else "none"
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", profile]
    rules = RULES.replace("JOBS", str(jobs)).replace("SECONDS", str(seconds))
    with tempfile.TemporaryDirectory() as name:
        Path(name, "Snakefile").write_text(OURS * ours + rules)
        with subprocess.Popen(
            [*command, "--quiet", "all"],
            cwd=name,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
        ) as child:
            process, done = psutil.Process(child.pid), Path(name, "done")
            while not done.is_dir() or len(list(done.iterdir())) < jobs:
                time.sleep(0.2)
            time.sleep(2)  # Until the first two sleep.
            # User and system, without its children.
            running, start = sum(process.cpu_times()[:2]), time.perf_counter()
            time.sleep(seconds)
            waiting = (sum(process.cpu_times()[:2]) - running) / (time.perf_counter() - start)
            child.terminate()
    return running, waiting


def benchmark(jobs: list[int], seconds: int = 20) -> None:
    """Print CPU seconds and shares.

    Args:
        jobs: numbers of quick jobs.
        seconds: that each of the last jobs sleeps.
    """
    print(machine("snakemake"))
    for count in jobs:
        for ours in (False, True):
            running, waiting = measure(count, seconds, ours)
            whose = "as this workflow starts it" if ours else "as it comes"
            print(f"{count:,} jobs, {whose}: {running:.1f} CPU s, {waiting:.1%} of a core waiting")


if __name__ == "__main__":
    run(benchmark)
