"""What the status tells of a study, the time left, the lines of a run, and what may be deleted."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from snakemake.logging import DefaultFilter, DefaultFormatter
from snakemake_interface_logger_plugins.common import LogEvent

from scripts.command import InputError, alone
from scripts.study.config import load
from scripts.study.jobs import expected, files_of, jobs_of, without_runs
from scripts.study.leftovers import leftovers
from scripts.study.progress import follow
from scripts.study.schema import Study
from scripts.study.status import freed, overview, time_left

CONFIG = Path(__file__).resolve().parent.parent / "config/smoke.yaml"
MODEL = "results/smoke/models/generated/tiny/cft/seed-0"


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """The smoke study, all of whose files are there and took 100 seconds a job, but for a model's
    training, which took 50."""
    monkeypatch.chdir(tmp_path)
    study = load(CONFIG)
    for path in files_of(study):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).touch()
        if path.endswith("preparation.json"):
            counts = {"examples": 40, "mean_history_length": 5.0}
            facts = {"splits": dict.fromkeys(("train", "valid", "test"), counts), "items": 40}
            Path(path).write_text(json.dumps(facts), encoding="utf-8")
        took = 50.0 if path.endswith("run.json") else 100.0
        recorded("metadata", path, {"starttime": 1000.0, "endtime": 1000.0 + took})
    return study


def recorded(kind: str, path: str, record: dict[str, float]) -> Path:
    """A record as Snakemake leaves it."""
    file = Path(".snakemake", kind, urlsafe_b64encode(path.encode()).decode())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record), encoding="utf-8")
    return file


def state_of(study: Study, name: str) -> str:
    return next(job.state for job in jobs_of(study) if job.name == name)


def test_states_follow_files_records_and_locks(study: Study) -> None:
    name = "models/generated/tiny/cft/seed-0"
    assert {job.state for job in jobs_of(study)} == {"done"}
    Path(MODEL, "run.json").unlink()
    assert state_of(study, name) == "missing"
    log = Path("results/smoke/logs", f"{name}.log")
    log.parent.mkdir(parents=True)
    log.write_text("0%|\r100%|\nWARNING slow\n12:00 ERROR x: no memory\nlast\n", encoding="utf-8")
    assert state_of(study, name) == "failed"
    text = overview(study, jobs_of(study))
    assert "10 of 11  1 failed\n" in text
    assert f"  {name}\n    12:00 ERROR x: no memory\n    {log}" in text
    begun = recorded("incomplete", f"{MODEL}/run.json", {})
    assert state_of(study, name) == "stopped"
    with alone(Path(MODEL)):
        assert state_of(study, name) == "running"
    with Path(".snakemake/living").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert state_of(study, name) == "running"
        with pytest.raises(InputError, match="a run is going"), without_runs():
            pass
    begun.unlink()
    log.unlink()
    assert state_of(study, name) == "missing"


def test_jobs_that_are_left_take_what_their_like_took(study: Study) -> None:
    for path in (f"{MODEL}/run.json", "results/smoke/tables/cost.csv"):
        Path(path).unlink()
    taken = {
        job.name: (seconds, told) for job, seconds, told in expected(study, jobs_of(study), [])
    }
    # All models are trained on as many examples. Those with CFT see each twice, and took as long.
    seconds, told = taken.pop("models/generated/tiny/cft/seed-0")
    assert told
    assert 50 < seconds < 100
    assert taken == {"tables/cost": (100.0, True)}
    assert time_left(study, jobs_of(study)).endswith("about 3 minutes")
    for record in Path(".snakemake/metadata").iterdir():
        record.unlink()
    assert "by the preflight's estimate" in time_left(study, jobs_of(study))


def test_what_can_be_deleted_is_nothing_that_the_study_needs(study: Study) -> None:
    assert leftovers(study) == []
    folder = "results/smoke"
    planted = {
        f"{folder}/models/generated/tiny/gone/seed-0/run.json": ("gone", "2 minutes of work"),
        f"{folder}/metrics/generated/gone/plain/seed-0.parquet": ("gone", "2 minutes of work"),
        f"{folder}/audits/generated/tiny/cft/.x.csv.sha256": (".x.csv.sha256", "its work"),
        f"{MODEL}.checkpoints/made/w": ("made", "nothing"),
        f"{folder}/data/generated/.x.4194305.partial/w": (".x.4194305.partial", "nothing"),
    }
    kept = [f"{MODEL}/weights", f"{MODEL}.checkpoints/other/w", "results/smoke/data/generated/d3/w"]
    kept += ["results/smoke/models/generated/baselines/sasrec/seed-0.safetensors"]
    kept += [f"results/smoke/data/generated/.x.{os.getpid()}.partial", "results/smoke/notes.txt"]
    for path in [*planted, *kept]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("0123456789", encoding="utf-8")
        if not path.startswith(MODEL) and not path.endswith(("/w", "sha256")):
            recorded("metadata", path, {"starttime": 0.0, "endtime": 120.0})
    Path(MODEL, "run.json").write_text('{"made_from": "made"}', encoding="utf-8")
    found = leftovers(study)
    assert {(one.path.name, one.cost) for one in found} == set(planted.values())
    assert all(one.bytes == 10 for one in found)
    held = Path("results/smoke/models/generated/tiny/gone")
    with alone(held / "seed-0"):
        assert freed(CONFIG, yes=True).startswith("Deleted, 0 MB")
        assert held.is_dir()
    assert [one.path for one in leftovers(study)] == [held]
    freed(CONFIG, yes=True)
    assert not held.exists()
    assert all(Path(path).is_file() for path in kept)


def test_lines_of_a_run_count_and_show_the_end_of_a_failed_log(study: Study, monkeypatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    stream = logging.StreamHandler(io.StringIO())
    stream.addFilter(DefaultFilter(set(), False, False, False, False))
    stream.setFormatter(DefaultFormatter())
    failed = Path("results/smoke/logs/tables/cost.log")
    failed.parent.mkdir(parents=True)
    failed.write_text("\n".join(map(str, range(30))), encoding="utf-8")
    logs = [f"results/smoke/logs/{name}.log" for name in ("tables/cost", "tables/claims", "report")]
    follow(stream, study, dict(enumerate(logs)), [])

    def told(seconds: float, **event) -> str:
        clock[0] += seconds
        record = {"levelno": logging.ERROR if "log" in event else logging.INFO, "msg": "raw"}
        before = stream.stream.tell()
        stream.handle(logging.makeLogRecord(record | event))
        return stream.stream.getvalue()[before:]

    # Each of the three is expected to take 100 seconds, as the finished ones did.
    begins = told(0, event=LogEvent.JOB_STARTED, jobs=[0])
    assert begins[6:] == f"begins tables/cost, about 100 seconds; its log: {logs[0]}\n"
    assert told(0, event=LogEvent.JOB_INFO) == ""
    ended = told(40, event=LogEvent.JOB_FINISHED, job_id=0)
    assert ended[6:].startswith("1 of 3 steps; tables/cost took 40 seconds; about 3 minutes left")
    told(0, event=LogEvent.JOB_STARTED, jobs=[1])
    assert told(1, event=LogEvent.JOB_FINISHED, job_id=1) == ""
    text = told(0, event=LogEvent.JOB_ERROR, log=logs[:1], rule_name="table_cost")
    end = "".join(f"  {line}\n" for line in range(20, 30))
    assert text[6:] == f"FAILED; the end of {logs[0]}:\n{end}"
