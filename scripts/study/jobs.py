"""The jobs of a study: which are done, running, failed, stopped or missing, and what each takes.

Read from files alone: the results, Snakemake's records of what it began and finished, and locks
that end with their process. None of them is kept, so that a run may be going.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from base64 import urlsafe_b64decode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from scripts.cells import Cell
from scripts.command import InputError
from scripts.gpu import Gpu
from scripts.study import costs, resources
from scripts.study.cells import decodings
from scripts.study.needs import base_of, device_files, missing_downloads, seconds_of, speed_of
from scripts.study.outputs import OUTPUTS, figures, tables
from scripts.study.schema import Study

#: Snakemake's folder.
SNAKEMAKE = Path(".snakemake")
#: Files that stand for the folder they lie in.
WITHIN = {"run.json", "curves.csv", "backbone.json", "config.json"}

#: What of a log says best what went wrong, the best first: a step's own message, a fault.
TELLING = (r" (ERROR|CRITICAL) ", r"^\s*[\w.]*(Error|Exception)\b|\bKilled\b")


class Job(NamedTuple):
    """What one job makes."""

    log: str
    """Its log, which lies as its first output does, in a folder of logs."""
    files: dict[str, Cell | None]
    """A file for each thing that it makes, with the cell that a model does."""
    state: str = "missing"
    """done, running, failed, stopped (it was killed), or missing."""
    seconds: float | None = None
    """What it took, or has taken so far; None where no record says it."""

    @property
    def name(self) -> str:
        """What it makes, in short: the kind first."""
        return self.log.split("logs/", 1)[-1].removesuffix(".log")


def jobs_of(study: Study) -> list[Job]:
    """Every job of a study, looked up below the working directory; of downloads those that are
    missing, and pretrained backbones."""
    jobs: dict[str, dict[str, Cell | None]] = defaultdict(dict)
    first = {f"{folder}/{h}": f"{folder}/{of[0]}" for folder, of in decodings(study) for h in of}
    for path, cell in files_of(study).items():
        root = f"results/{study.study}" if path.startswith("results/") else "resources"
        kind, _, place = name_of(path.removeprefix(f"{root}/")).partition("/")
        place = first.get(place, place) if kind == "recommendations" else place
        jobs[f"{root}/logs/{f'{kind}/{place}'.strip('/')}.log"][path] = cell
    begun, finished = recorded("incomplete"), recorded("metadata")
    lives = (SNAKEMAKE / "living").exists()
    with suppress(InputError, OSError), without_runs() if lives else nullcontext():
        lives = False
    return [_looked_up(Job(*job), begun, finished, lives) for job in jobs.items()]


def files_of(study: Study) -> dict[str, Cell | None]:
    """A file for each thing of a study, with the cell that a model makes."""
    made = device_files(study)
    used = {cell.backbone for cell in made.values()} - {""}
    scratch = {name for name in used if study.backbones[name].source.kind == "scratch"}
    starts = {(base_of(study, c.dataset), c.backbone) for c in made.values()}
    results = [
        *[f"backbones/{name}/{of}/backbone.json" for name, of in starts if of in scratch],
        *[file for output in OUTPUTS for files in output.reads.values() for file in files(study)],
        *[f"analyses/{name}.csv" for output in tables(study) for name in output.table],
        *[f"analyses/{output.name}.csv" for output in figures(study)],
        *[f"tables/{output.name}.csv" for output in tables(study)],
        *[f"figures/{output.name}.pdf" for output in figures(study)],
        "report.html",
    ]
    pretrained = resources.pretrained(study.backbones[name].source for name in sorted(used))
    folders = {folder: f"{folder}/config.json" for folder, _ in pretrained}
    named: dict[str, str] = {}
    for path in [*folders.values(), *made, *[f"results/{study.study}/{file}" for file in results]]:
        named.setdefault(name_of(path), path)
    absent = [path for path in missing_downloads(study, used) if path not in folders]
    return {path: made.get(path) for path in [*absent, *named.values()]}


def name_of(path: str) -> str:
    """What a file stands for: its path without an ending; of a folder that is made as a whole the
    folder's, and of a data set its own."""
    parts = PurePath(path).parts
    if "data" in parts[:3]:
        return "/".join(parts[: parts.index("data") + 2])
    if parts[-1] in WITHIN and "analyses" not in parts:
        return "/".join(parts[:-1])
    return path if parts[0] == "raw" else str(PurePath(path).with_suffix(""))


def recorded(kind: str) -> dict[str, Path]:
    """Snakemake's records of files that a job has begun (`incomplete`) or finished (`metadata`)."""
    folder, found = SNAKEMAKE / kind, {}
    for record in folder.rglob("*"):
        name = "".join(part.removeprefix("@") for part in record.relative_to(folder).parts)
        with suppress(ValueError):
            found[urlsafe_b64decode(name).decode()] = record
    return found


@contextmanager
def without_runs() -> Iterator[None]:
    """Keep Snakemake from running here meanwhile: one that starts waits, see `freed_of_dead_runs`.

    Raises:
        InputError: one is running.
        OSError: the file system has no locks to tell it.
    """
    SNAKEMAKE.mkdir(exist_ok=True)
    stream = os.open(SNAKEMAKE / "living", os.O_RDONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise InputError(f"a run is going in {Path.cwd()}; let it end first") from error
    finally:
        os.close(stream)


def is_held(path: Path) -> bool:
    """Whether a process is making `path` now, as `alone` tells."""
    try:
        with path.with_name(f".{path.name}.lock").open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # No lock, or a file system without any.
        return False
    return False


def _looked_up(job: Job, begun: dict[str, Path], finished: dict[str, Path], lives: bool) -> Job:
    """A job with its state and time."""
    with suppress(FileNotFoundError):  # It may just have ended.
        started = [begun[path].stat().st_mtime for path in job.files if path in begun]
        if started and lives:
            return job._replace(state="running", seconds=time.time() - min(started))
        if any(is_held(one) for path in job.files for one in (Path(path), Path(path).parent)):
            return job._replace(state="running")
        if started:
            return job._replace(state="stopped")
    known = [finished[path] for path in job.files if path in finished]
    if all(Path(path).exists() for path in job.files):
        times = [json.loads(record.read_text(encoding="utf-8")) for record in known]
        took = [one["endtime"] for one in times], [one["starttime"] for one in times]
        return job._replace(state="done", seconds=max(took[0]) - min(took[1]) if times else None)
    # Snakemake records those that fail as well, so that their log must say it.
    failed = Path(job.log).exists() and (not known or telling_line(Path(job.log)))
    return job._replace(state="failed") if failed else job


def log_lines(log: Path) -> list[str]:
    """The last lines of a log, as a terminal shows them in the end; none where there is no log."""
    text = log.read_bytes()[-100_000:].decode(errors="replace") if log.is_file() else ""
    return [line.rsplit("\r", 1)[-1] for line in map(str.rstrip, text.split("\n")) if line]


def telling_line(log: Path) -> str:
    """The line of a log that says best what went wrong, shortened; empty where none says it."""
    lines = log_lines(log)[::-1]
    return next((line[:300] for key in TELLING for line in lines if re.search(key, line)), "")


def expected(
    study: Study, jobs: Iterable[Job], gpus: list[Gpu]
) -> Iterator[tuple[Job, float | None, bool]]:
    """What the jobs take that are not done.

    Finished ones of the same kind, backbone and decoder tell it: in the ratio of what they took to
    what `costs` counts for them. Where none is finished, it is what `costs` counts, if anything.

    Yields:
        a job, its seconds, and whether finished ones tell them.
    """
    speed = cache(lambda backbone: speed_of(study, backbone, gpus))
    done: dict[tuple[str, ...], list[tuple[float, float | None]]] = defaultdict(list)
    left: list[tuple[Job, float | None]] = []
    for job in jobs:
        cells = [(path, cell) for path, cell in job.files.items() if cell and cell.backbone]
        parts = [seconds_of(study, path, cell, speed(cell.backbone)) for path, cell in cells]
        weight = costs.START_SECONDS + sum(parts) if parts and None not in parts else None
        if job.state != "done":
            left.append((job, weight))
        elif job.seconds is not None:
            done[_kind(job)].append((job.seconds, weight))
    for job, weight in left:
        if not done[_kind(job)]:
            yield job, weight, False
            continue
        seconds, weights = zip(*done[_kind(job)], strict=True)
        if weight is None or None in weights:
            yield job, sum(seconds) / len(seconds), True
        else:
            yield job, weight * sum(seconds) / sum(weights), True


def _kind(job: Job) -> tuple[str, ...]:
    """What jobs have in common that take a time alike."""
    kind, cell = job.name.split("/")[0], next(filter(None, job.files.values()), None)
    if not cell:
        return (kind,)
    decoder = cell.decoder if kind in ("recommendations", "tuning") else ""
    return (kind, cell.backbone, cell.baseline, decoder)
