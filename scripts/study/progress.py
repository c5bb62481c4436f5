"""What a run tells on a terminal: short lines for what begins, ends and fails, and the time left.

Snakemake's own lines go on into its log file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from snakemake_interface_logger_plugins.common import LogEvent

from scripts.command import LOG_INTERVAL
from scripts.study.jobs import Job, jobs_of, log_lines, name_of, seconds_left
from scripts.study.preflight import duration, find_gpus
from scripts.study.schema import Study

#: Seconds that a job is expected to take from which on its begin is told, too.
LONG = 60.0
#: Last lines of a failed job's log that are shown.
TAIL = 10
#: Of a run's begin: what the preflight tells better, or a log file may keep.
UNTOLD = {LogEvent.WORKFLOW_STARTED, LogEvent.RUN_INFO, LogEvent.RESOURCES_INFO}


def of_interest(record: logging.LogRecord) -> bool:
    """Whether a line of a run's begin is for a terminal."""
    return getattr(record, "event", None) not in UNTOLD


def follow(
    stream: logging.StreamHandler, study: Study, planned: Mapping[int, Iterable[str]]
) -> None:
    """Have Snakemake's handler of a terminal tell short lines in place of its own; its warnings and
    errors stay. Jobs of a few seconds are counted in the line of a later one.

    Args:
        stream: it is given a filter.
        study: what the jobs belong to.
        planned: the outputs of each job that is to run, by its number.
    """
    # Several files may stand for one thing.
    waiting = {n: list(dict.fromkeys(map(name_of, files))) for n, files in planned.items()}
    gpus = find_gpus()
    begun: dict[int, float] = {}
    began = said = time.monotonic()
    worked = 0.0

    def tell(text: str) -> None:
        nonlocal said
        said = time.monotonic()
        print(f"{time.strftime('%H:%M')} {text}", file=stream.stream, flush=True)

    def left() -> dict[str, float]:
        """Seconds that each thing takes that this run still has to make, as far as known."""
        jobs = jobs_of(study)
        again = [Job(job.path, job.cell) for job in jobs if job.state == "done"]
        found = seconds_left(study, [*jobs, *again], gpus)
        known = {job.name: seconds or 0.0 for job, seconds, _ in found}
        return {name: known.get(name, 0.0) for names in waiting.values() for name in names}

    def begin(number: int) -> None:
        begun[number] = time.monotonic()
        takes = left()
        if (seconds := sum(takes[name] for name in waiting[number])) >= LONG:
            tell(f"begins {waiting[number][0]}, about {duration(seconds)}")

    def end(number: int) -> None:
        nonlocal worked
        now = time.monotonic()
        took = now - begun.pop(number, now)
        name = next(iter(waiting.pop(number)), "the last")
        worked += took
        if max(took, now - said) < LOG_INTERVAL and waiting:
            return
        # So many jobs ran side by side until now.
        beside = max(1.0, (worked + sum(now - start for start in begun.values())) / (now - began))
        rest = sum(left().values()) / beside
        text = f"{len(planned) - len(waiting)} of {len(planned)} steps; {name} took "
        tell(f"{text}{duration(took)}" + f"; about {duration(rest)} left" * bool(rest))

    def shown(record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        with suppress(Exception):  # No line is worth a run.
            if event == LogEvent.JOB_STARTED:
                for number in record.jobs:
                    begin(number)
            elif event == LogEvent.JOB_FINISHED:
                end(record.job_id)
            elif event == LogEvent.JOB_ERROR:
                for log in record.log:
                    lines = "\n  ".join(log_lines(Path(log))[-TAIL:])
                    tell(f"FAILED; the end of {log}:\n  {lines}")
        command = event == LogEvent.ERROR and "CalledProcessError" in record.getMessage()
        return event != LogEvent.JOB_ERROR and not command and record.levelno >= logging.WARNING

    stream.addFilter(shown)
