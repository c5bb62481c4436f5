"""What a study makes: what of it is done, running, failed or missing, and the time that it takes.

Read from files alone: the results, and Snakemake's records of what it began and finished. None of
them is locked or changed, so that a run may be going.
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from base64 import urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path, PurePath
from typing import NamedTuple

from scripts.cells import Cell
from scripts.gpu import Gpu
from scripts.study import resources
from scripts.study.cells import base_of, recut_datasets
from scripts.study.needs import device_files, missing_downloads, seconds_of, speed_of, start_seconds
from scripts.study.outputs import OUTPUTS, figures, pushed, tables
from scripts.study.schema import Study

#: Snakemake's folder, and the file in it that a run keeps locked, see `freed_of_dead_runs`.
SNAKEMAKE = Path(".snakemake")
LIVING = SNAKEMAKE / "living"
#: What stands before the kind of a file.
ROOT = re.compile(r"^(results/[^/]+|resources)/")
#: A line of a log that says what went wrong: a step's own message, or a fault.
TELLING = re.compile(r" (ERROR|CRITICAL) |^\s*[\w.]*(Error|Exception)\b|\bKilled\b")


class Job(NamedTuple):
    """One thing that a study makes: a data set, a model, lists, a table."""

    path: str
    """A file that stands for it."""
    cell: Cell | None = None
    """The cell of what a model makes."""
    state: str = "missing"
    """done, running, failed or missing."""
    seconds: float | None = None
    """What it took, or has taken so far; None where no record says it."""

    @property
    def name(self) -> str:
        """What it is in short, see `name_of`."""
        return name_of(self.path)

    @property
    def kind(self) -> str:
        """Its folder in the results or resources."""
        return self.name.split("/")[0]

    @property
    def log(self) -> Path:
        """Its log. What one job makes together is told in the log of the first."""
        root = self.path[: ROOT.match(self.path).end()]
        return Path(root, "logs", f"{self.name}.log")


def jobs_of(study: Study) -> list[Job]:
    """All that a study makes, looked up below the working directory; of downloads those that are
    missing, and pretrained backbones."""
    files, begun, finished = files_of(study), recorded("incomplete"), recorded("metadata")
    records = {}
    for path in files.keys() & finished.keys():
        with suppress(FileNotFoundError):  # It is just being made again.
            records[path] = json.loads(finished[path].read_text(encoding="utf-8"))
    # What one job makes together has one log, and shares its time.
    together = Counter(str(one["log"]) for one in records.values())
    took = {
        path: (one["endtime"] - one["starttime"]) / together[str(one["log"])]
        for path, one in records.items()
    }
    lives = is_locked(LIVING)

    def looked_up(job: Job) -> Job:
        began = None
        with suppress(KeyError, FileNotFoundError):  # It may just have ended.
            began = begun[job.path].stat().st_mtime
        if began and lives:
            return job._replace(state="running", seconds=time.time() - began)
        if Path(job.path).exists():
            return job._replace(state="done", seconds=took.get(job.path))
        # Snakemake records those that fail as well, so that their log must say it.
        failed = job.log.exists() and (job.path not in took or telling_line(job.log))
        return job._replace(state="failed") if failed else job

    return [looked_up(Job(path, cell)) for path, cell in files.items()]


def files_of(study: Study) -> dict[str, Cell | None]:
    """A file for each thing of a study in the order of the work, with the cell of a model's."""
    made = device_files(study)
    used = {cell.backbone for cell in made.values()} - {""}
    scratch = {name for name in used if study.backbones[name].source.kind == "scratch"}
    starts = {(base_of(study, c.dataset), c.backbone) for c in made.values()}
    pretrained = resources.pretrained(study.backbones[name].source for name in sorted(used))
    folders = {folder: f"{folder}/config.json" for folder, _ in pretrained}
    absent = [path for path in missing_downloads(study, used) if path not in folders]
    data = [*study.datasets, *recut_datasets(study)]
    first = [f"data/{name}/examples/test.parquet" for name in data]
    first += [
        f"backbones/{of}/{name}/backbone.json" for of, name in sorted(starts) if name in scratch
    ]
    shown = [
        *[file for one in OUTPUTS for files in one.reads.values() for file in files(study)],
        *[f"analyses/{name}.csv" for output in tables(study) for name in output.table],
        *[f"analyses/{output.name}.csv" for output in figures(study)],
        *[f"tables/{output.name}.csv" for output in tables(study)],
        *[f"figures/{output.name}.pdf" for output in figures(study)],
        "report.html",
        *pushed(study),
    ]
    first, shown = ([f"results/{study.study}/{path}" for path in of] for of in (first, shown))
    named: dict[str, str] = {}
    for path in [*absent, *folders.values(), *first, *made, *shown]:
        named.setdefault(name_of(path), path)
    return {path: made.get(path) for path in named.values()}


def name_of(path: str) -> str:
    """What a file stands for: its path in the results or resources without an ending; of a model,
    a backbone or a data set its folder's."""
    parts = PurePath(ROOT.sub("", path)).parts
    if parts[0] == "data":
        return "/".join(parts[:2])
    if parts[0] in ("models", "backbones"):
        return "/".join(parts[:-1])
    return "/".join(parts) if parts[0] == "raw" else str(PurePath(*parts).with_suffix(""))


def recorded(kind: str) -> dict[str, Path]:
    """Snakemake's records of files that a job has begun (`incomplete`) or finished (`metadata`)."""
    folder, found = SNAKEMAKE / kind, {}
    for record in folder.rglob("*"):
        name = "".join(part.removeprefix("@") for part in record.relative_to(folder).parts)
        with suppress(ValueError):
            found[urlsafe_b64decode(name).decode()] = record
    return found


def is_locked(file: Path) -> bool:
    """Whether a process has a lock on a file; False where the file system has no locks."""
    try:
        with file.open("r+") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def log_lines(log: Path) -> list[str]:
    """The last lines of a log, as a terminal shows them in the end; none where there is no log."""
    text = log.read_bytes()[-100_000:].decode(errors="replace") if log.is_file() else ""
    return [line.rsplit("\r", 1)[-1] for line in map(str.rstrip, text.split("\n")) if line]


def telling_line(log: Path) -> str:
    """The last line of a log that says what went wrong, shortened; empty where none says it."""
    return next((line[:300] for line in log_lines(log)[::-1] if TELLING.search(line)), "")


def seconds_left(
    study: Study, jobs: Sequence[Job], gpus: list[Gpu]
) -> Iterator[tuple[Job, float | None, bool]]:
    """What the jobs still take that are not done.

    Finished ones of the same kind, backbone and decoder tell it: in the ratio of what they took to
    what `costs` counts for them. Where none is finished, it is what `costs` counts, if anything.

    Yields:
        a job, its seconds, and whether finished ones tell them.
    """
    speed = cache(lambda backbone: speed_of(study, backbone, gpus))

    def counted(job: Job) -> float | None:
        if not job.cell or not job.cell.backbone:
            return 1.0  # All are alike.
        seconds = seconds_of(study, job.path, job.cell, speed(job.cell.backbone))
        return seconds and seconds + start_seconds(job.path, job.cell)

    took: Counter[tuple[str, ...]] = Counter()
    weights: Counter[tuple[str, ...]] = Counter()
    for job in jobs:
        if job.state == "done" and job.seconds is not None:
            took[_like(job)] += job.seconds
            weights[_like(job)] += counted(job) or 0.0
    for job in jobs:
        if job.state != "done":
            weight, measured = counted(job), weights[_like(job)] > 0
            if measured and weight:
                weight *= took[_like(job)] / weights[_like(job)]
            elif not job.cell or not job.cell.backbone:
                weight = None
            left = None if weight is None else max(0.0, weight - (job.seconds or 0.0))
            yield job, left, measured


def _like(job: Job) -> tuple[str, ...]:
    """What jobs have in common that take a time alike."""
    if not job.cell:
        return (job.kind,)
    decoder = job.cell.decoder if job.kind in ("recommendations", "tuning", "validation") else ""
    return (job.kind, job.cell.backbone, job.cell.baseline, decoder)
