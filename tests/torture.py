"""Kills a small study at seeded moments, many times in one folder, and compares what comes of it.

`python -m tests.torture --kills 60 --seed 0 --folder torture` runs the study once undisturbed, then
again with kills, each followed by the same command. What must hold: every run that is not killed
ends well with no step by hand, no job that Snakemake told finished is done again, tables are
byte-equal apart from times and memory, and weights are bit-equal.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pandas as pd
import yaml

from scripts.command import run
from scripts.files import sha256
from tests.generate_amazon import generate
from tests.hub_server import HubServer, serve

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
RAW = ("reviews", "meta")
#: Signals by name, and whether the whole process group gets it, or Snakemake alone: its jobs then
#: run on beside the next run.
WAYS = {
    "SIGKILL, group": (signal.SIGKILL, True),
    "SIGTERM, group": (signal.SIGTERM, True),
    "SIGINT, group": (signal.SIGINT, True),
    "SIGKILL, Snakemake": (signal.SIGKILL, False),
}
#: What is there only while something is written.
PASSING = ("**/*.part", "**/.*.partial", "results/**/checkpoint-*", "results/**/checkpoint-*/*")
#: Columns that no two runs share, and the outputs that hold hardly anything else.
MEASURED = re.compile("second|hour|memory|relative|crowded|resumed")
COST = re.compile(r"/cost\.csv$")


class Kill(NamedTuple):
    """A kill: what ran then, and how it was killed."""

    stage: str
    way: str


def study(address: str) -> dict[str, Any]:
    """The smoke study with one seed, two objectives and two decoders; its data are downloaded."""
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text(encoding="utf-8"))
    for name in ("sensitivity", "history_length", "search_error"):
        del config[name]
    source = config["datasets"]["generated"]["source"]
    source |= {
        key: f"{address}/files/{name}.json.gz"
        for key, name in zip(("reviews", "metadata"), RAW, strict=True)
    }
    config["baselines"] = {"sasrec": config["baselines"]["sasrec"]}
    config["baseline_seeds"] = [0]
    config["backbones"]["tiny"]["training"]["epochs"] = 3
    kept = ("grounded", "constrained")
    config["decoders"] = {name: config["decoders"][name] for name in kept}
    cells = {"backbones": ["tiny"], "datasets": ["generated"], "seeds": [0]}
    config["experiments"] = [cells | {"objectives": ["plain", "cft"], "decoders": list(kept)}]
    config["methods"] = [each for each in config["methods"] if each["decoder"] in kept]
    return config


def start(folder: Path, log: Path, targets: list[str]) -> subprocess.Popen[bytes]:
    """Start the study in its folder, in a process group of its own."""
    words = ["--directory", str(folder), "--configfile", str(folder / "study.yaml")]
    # With -p, lest the lines that `jobs_of` reads be left out.
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "2", "-p", *words]
    with log.open("wb") as stream:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=stream, stderr=stream, start_new_session=True
        )


def jobs_of(log: Path) -> tuple[dict[str, tuple[str, str]], set[str]]:
    """Jobs that a run began, as rule and outputs by number in the order of their start, and the
    numbers of those that it told finished."""
    text = log.read_text(encoding="utf-8", errors="replace")
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?: {4}.*\n)*)", text, re.M)
    begun = {}
    for rule, block in blocks:
        number = re.search(r"^    jobid: (\d+)", block, re.M)
        output = re.search(r"^    output: (.*)", block, re.M)
        if number and output:
            begun[number[1]] = (rule, output[1])
    return begun, set(re.findall(r"^Finished jobid: (\d+)", text, re.M))


def passing(folder: Path) -> set[Path]:
    """What is there only while something is written."""
    return {path for pattern in PASSING for path in folder.glob(pattern)}


def wait_for_moment(
    folder: Path, log: Path, process: subprocess.Popen[bytes], rng: Random, stride: int
) -> None:
    """Wait until some jobs began and some time went by, or for a file that is being written."""
    aimed, jobs, delay = rng.random() < 0.5, rng.randint(1, stride), rng.uniform(0, 3)
    known = passing(folder)
    while process.poll() is None:
        begun = len(jobs_of(log)[0])
        if aimed and passing(folder) - known:
            return
        if begun >= (jobs + 2 if aimed else jobs):
            time.sleep(delay)
            return
        time.sleep(0.01)


def kill(process: subprocess.Popen[bytes], way: str) -> None:
    """Kill a run and wait for its end; jobs may run on."""
    number, group = WAYS[way]
    (os.killpg if group else os.kill)(process.pid, number)
    process.wait(timeout=300)


def torture_once(
    folder: Path, hub: HubServer, rng: Random, kills: int, targets: list[str], stride: int
) -> list[Kill]:
    """Run the study in a new folder with at most so many kills until it is whole.

    Raises:
        RuntimeError: a run failed that nobody killed, or did a finished job again.
    """
    prepare(folder, hub)
    for name in RAW:
        path = hub.folder / f"files/{name}.json.gz"
        # A third arrives at a time, with pauses: time for a kill.
        hub.cuts[f"files/{name}.json.gz"] = [path.stat().st_size // 3] * 3
    done: list[Kill] = []
    finished: set[tuple[str, str]] = set()
    while True:
        log = folder / f"run-{len(done)}.log"
        process = start(folder, log, targets)
        if len(done) < kills:
            wait_for_moment(folder, log, process, rng, stride)
        else:
            process.wait()
        if process.poll() not in (None, 0):
            raise RuntimeError(f"{log}: failed after {done[-1:]}:\n{log.read_text()[-3000:]}")
        begun, ended = jobs_of(log)
        if process.poll() is None:
            running = [rule for number, (rule, _) in begun.items() if number not in ended]
            done.append(Kill(running[-1] if running else "between jobs", rng.choice([*WAYS])))
            logger.info("%s: %s", *done[-1])
            kill(process, done[-1].way)
            begun, ended = jobs_of(log)
        if again := finished & set(begun.values()):
            raise RuntimeError(f"{log}: done again after {done[-1:]}: {sorted(again)}")
        finished |= {begun[number] for number in ended if number in begun}
        if process.returncode == 0:
            return done


def prepare(folder: Path, hub: HubServer) -> None:
    """A new folder with the study's configuration."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    text = yaml.safe_dump(study(hub.address), sort_keys=False)
    (folder / "study.yaml").write_text(text, encoding="utf-8")


def content_of(folder: Path) -> dict[str, str]:
    """What must be equal of two runs, by file: CSV without times, checksums of weights."""
    content = {}
    for path in sorted((folder / "results").rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix == ".safetensors" and "checkpoint" not in name:
            content[name] = sha256(path)
        elif path.suffix == ".csv" and not COST.search(name):
            frame = pd.read_csv(path, dtype=str, keep_default_na=False)
            kept = [column for column in frame if not MEASURED.search(column)]
            # Claims on times and memory have the numbers of the run.
            rows = ~frame.isin(["cost"]).any(axis="columns")
            content[name] = frame.loc[rows, kept].to_csv(index=False)
    return content


def differences(reference: Path, folder: Path) -> list[str]:
    """Names of files that only one of two runs has, or that differ; none may be left half-made."""
    left, right = content_of(reference), content_of(folder)
    differ = [name for name in sorted({*left, *right}) if left.get(name) != right.get(name)]
    return differ + sorted(str(path) for path in passing(folder))


def torture(
    folder: Path, kills: int = 60, seed: int = 0, targets: list[str] | None = None, stride: int = 8
) -> None:
    """Kill the study again and again, and print how many kills it survived.

    Args:
        folder: Where the studies go.
        kills: Number of kills over all studies; at most 20 hit one.
        seed: Seed of the moments and the ways.
        targets: What is made; everything by default.
        stride: Jobs that a run begins at most before it is killed.
    """
    rng, counts, survived, faults = Random(seed), Counter(), Counter(), []
    folder = folder.resolve()
    # In the background a shell has it ignored, and so would the runs.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shutil.rmtree(folder, ignore_errors=True)
    generate(folder / "served/files", users=60, items=60, seed=0)
    with serve(folder / "served") as hub:
        reference = folder / "reference"
        prepare(reference, hub)
        if start(reference, reference / "run.log", targets or []).wait():
            raise SystemExit(f"the undisturbed run failed: {reference / 'run.log'}")
        while counts.total() < kills:
            again = folder / f"after-{counts.total()}"
            most = min(20, kills - counts.total())
            done = torture_once(again, hub, rng, most, targets or [], stride)
            differ = differences(reference, again)
            faults += [f"{again.name}: {name}" for name in differ]
            counts.update(done)
            survived.update(done if not differ else [])
            if not done:
                raise SystemExit(f"{again}: ended before any kill; take a smaller stride")
    print(f"{'stage':24} {'signal':20} kills survived")
    for each in sorted(counts):
        print(f"{each.stage:24} {each.way:20} {counts[each]:5} {survived[each]:8}")
    print(f"{'all':45} {counts.total():5} {survived.total():8}")
    if faults:
        raise SystemExit("\n".join(["differs from the undisturbed run:", *faults]))


if __name__ == "__main__":
    run(torture)
