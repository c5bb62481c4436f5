"""What a run tells on a terminal: short lines for what begins, ends and fails, and the time left.

Snakemake's own lines go on into its log file.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.common import LogEvent

from scripts.command import LOG_INTERVAL
from scripts.gpu import Gpu
from scripts.study.jobs import Job, expected, jobs_of, log_lines
from scripts.study.preflight import duration
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
    stream: logging.Handler, study: Study, planned: Mapping[int, str], gpus: list[Gpu]
) -> None:
    """Have Snakemake's handler of a terminal tell short lines in place of its own; its warnings and
    errors stay. Jobs of a few seconds are counted in the line of a later one.

    Args:
        stream: it is given a filter.
        study: what the jobs belong to.
        planned: the log of each job that is to run by its number, or the rule where it has none.
    """
    known = {job.log: job for job in jobs_of(study)}
    past = [job for job in known.values() if job.state == "done"]
    waiting = {
        number: Job(log, known[log].files if log in known else {})
        for number, log in planned.items()
    }
    begun: dict[int, float] = {}
    began = said = time.monotonic()
    worked = 0.0

    def tell(text: str, level: int = logging.INFO, about: Quietness = Quietness.PROGRESS) -> None:
        nonlocal said
        said = time.monotonic()
        line = f"{time.strftime('%H:%M')} {text}"
        told = {"msg": line, "levelno": level, "levelname": logging.getLevelName(level)}
        stream.handle(logging.makeLogRecord(told | {"quietness": about, "own": True}))

    def rest() -> dict[int, float]:
        """Seconds that each job still takes, as far as they are known."""
        found = expected(study, [*past, *waiting.values()], gpus)
        known = {job.log: seconds or 0.0 for job, seconds, _ in found}
        now = time.monotonic()
        return {n: max(0.0, known[waiting[n].log] - now + begun.get(n, now)) for n in waiting}

    def begin(numbers: list[int]) -> None:
        takes = rest()
        for number in numbers:
            begun[number] = time.monotonic()
            if takes.get(number, 0.0) >= LONG:
                job = waiting[number]
                tell(f"begins {job.name}, about {duration(takes[number])}; its log: {job.log}")

    def end(number: int) -> None:
        nonlocal worked
        now = time.monotonic()
        took = now - begun.pop(number, now)
        job = waiting.pop(number)._replace(state="done", seconds=took)
        past.append(job)
        worked += took
        if max(took, now - said) < LOG_INTERVAL and waiting:
            return
        # So many jobs ran side by side until now.
        beside = max(1.0, (worked + sum(now - start for start in begun.values())) / (now - began))
        left = sum(rest().values()) / beside
        text = f"{len(planned) - len(waiting)} of {len(planned)} steps; {job.name} took "
        tell(f"{text}{duration(took)}" + f"; about {duration(left)} left" * bool(left))

    def shown(record: logging.LogRecord) -> bool:
        event = getattr(record, "event", None)
        with suppress(Exception):  # No line is worth a run.
            if event == LogEvent.JOB_STARTED:
                begin(record.jobs)
            elif event == LogEvent.JOB_FINISHED and record.job_id in waiting:
                end(record.job_id)
        if event == LogEvent.JOB_ERROR:
            for log in record.log or [record.rule_name]:
                lines = "\n  ".join(log_lines(Path(log))[-TAIL:])
                tell(f"FAILED; the end of {log}:\n  {lines}", logging.ERROR, Quietness.RULES)
        command = event == LogEvent.ERROR and "CalledProcessError" in record.getMessage()
        own = event != LogEvent.JOB_ERROR and not command and record.levelno >= logging.WARNING
        return own or hasattr(record, "own")

    stream.addFilter(shown)
