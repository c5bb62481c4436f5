"""Command lines: what a step's parameters become, and lists of any length."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from snakemake.shell import shell

from scripts.command import InputError, Seed, call, run, step_of
from scripts.data.settings import Prompt
from scripts.labels import Labels
from tests.tiny_study import llm

ROOT = Path(__file__).resolve().parent.parent


def step(
    files: list[Path],
    k: int = 3,
    kind: Literal["a", "b"] = "a",
    seed: Seed = 0,
    options: dict[str, Any] | None = None,
) -> str:
    """Say what was given.

    Args:
        files: some files.
        k: a number.
        kind: one of two.
        seed: of nothing.
        options: more.
    """
    if k > 9:
        raise InputError(f"k: {k} is more than 9")
    return f"{[str(file) for file in files]} {k} {kind}"


def write(text: str, output: Path) -> None:
    output.write_text(text)


def test_a_list_takes_words_and_what_a_step_returns_is_written(tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    run(step, write, ["--k", "4", "--files", "x y", "b c", "--output", output])
    assert Path(output).read_text() == "['x y', 'b c'] 4 a"
    run(step, write, ["--files", "--kind", "b", "--output", output])
    assert Path(output).read_text() == "[] 3 b"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "o"], "required: files"),
        (["--files", "x"], "required: output"),
        (["--files", "x", "--k", "many", "--output", "o"], "many"),
        (["--files", "x", "--kind", "c", "--output", "o"], "kind"),
        (["--files", "x", "--seed", "4294967296", "--output", "o"], "less than 4294967296"),
        (["--files", "x", "--options", "5", "--output", "o"], "argument --options: invalid"),
    ],
)
def test_wrong_words_are_named(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run(step, write, words)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_bad_input_ends_with_its_message_alone(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(SystemExit) as caught:
        run(step, write, ["--files", "x", "--k", "10", "--output", "o"])
    assert caught.value.code == 1
    assert caplog.messages == ["k: 10 is more than 9"]


#: Makes an output alone, until it is killed.
HOLDER = """
import fcntl, os, sys, time
lock = open(sys.argv[1], "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print(os.getpid(), "host", file=lock, flush=True)
print("held", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("rank", [None, "0", "1"])
def test_an_output_is_made_by_one_process_at_a_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    def make(output: Path) -> None:
        output.write_text(f"{holder.poll()}")

    output, lock = tmp_path / "model", tmp_path / ".model.lock"
    command = [sys.executable, "-S", "-c", HOLDER, str(lock)]
    words = ["--output", str(output)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        threading.Timer(0.5, holder.kill).start()
        if rank is not None:
            monkeypatch.setenv("RANK", rank)
        if rank == "0":
            with pytest.raises(SystemExit):
                run(make, words=words, exclusive=True)
        else:
            run(make, words=words, exclusive=True)
    who = f"process {holder.pid} of host"
    said = {
        None: [f"{output}: waiting for {who}, which is making it already"],
        "0": [f"{output}: {who} is making it already; let it end, and run again"],
        "1": [],
    }
    assert caplog.messages == said[rank]
    made = {None: "-9", "0": "", "1": "None"}[rank]
    assert (output.read_text() if output.exists() else "") == made
    assert lock.exists() == (rank is not None)


def test_options_from_json_are_checked() -> None:
    def shown(labels: Labels, k: int) -> str:
        return labels.dataset("a") * k

    assert call(shown, labels={"datasets": {"a": "A"}}, k=2) == "AA"
    for options, message in (
        ({"labels": {"colour": "red"}, "k": 2}, r"shown: labels\.colour: Extra inputs"),
        ({"labels": {}}, "shown: k: Missing required argument"),
        ({"labels": {}, "k": 1, "methods": []}, "shown: methods: Unexpected keyword"),
    ):
        with pytest.raises(InputError, match=message):
            call(shown, **options)


def shows(centre: str, bases: dict[str, str], prompt: Prompt, options: dict[str, Any]) -> list[Any]:
    """Say what was given."""
    return [centre, bases, prompt, options]


@settings(deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1))
@example("\N{GRINNING FACE}")
@example("{x} $HOME '\"` \\n\x7f\x85\u2028\ufffe")
@example("2018-01-01")
@example("null")
@example("1e5")
def test_every_text_reaches_a_step(text: str) -> None:
    prompt = Prompt(instruction=text, history=text)
    options = {"study": text, "labels": {"datasets": {text: text}}, "k": 10, "methods": [text]}
    words = ["--centre=" + text, "--bases", json.dumps({text: text})]
    words += ["--prompt", prompt.model_dump_json(), "--options", json.dumps(options)]
    found: list[Any] = []
    run(shows, lambda value, _: found.extend(value), [*words, "--output", "o"])
    assert found == [text, {text: text}, prompt, options]


@pytest.mark.parametrize("room", ["analyse", "tables", "figures"])
@pytest.mark.parametrize("words", [[], ["nonsense"]])
def test_a_name_without_a_module_is_refused(room: str, words: list[str]) -> None:
    with pytest.raises(SystemExit, match=f"with the name of a module in scripts/{room}"):
        step_of(f"scripts.{room}", words)


SNAKEFILE = """
from scripts.study.preflight import without_timers
onstart:
    limits = [workflow.scheduler.job_rate_limiter]
    without_timers(workflow.scheduler)
    limits.append(workflow.scheduler.job_rate_limiter)
    print("limits:", *(limit and limit.max_jobs for limit in limits))
rule all:
    output: "done"
    shell: "touch {output}"
"""


@pytest.mark.slow
@pytest.mark.parametrize(("words", "limits"), [("", "100 None"), ("7/2s", "7 7")])
def test_snakemakes_own_limit_ends_and_a_users_stays(
    tmp_path: Path, words: str, limits: str
) -> None:
    """Its timers would make the process itself busier with every job."""
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--workflow-profile", "none"]
    command += ["--max-jobs-per-timespan", words] if words else []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert f"limits: {limits}\n" in done.stdout, done.stderr


@pytest.mark.slow
def test_three_thousand_files_fit_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Snakemake starts it: one argument of a command may hold 128 KiB on Linux."""
    objective = {"beta": 1.0, "token_weights": "linear"}
    training = {"epochs": 1, "train_examples": None, "learning_rate": 1e-4}
    settings = {"objective": objective, "training": training}
    values = {"alpha": 0.0, "beta": 1.0, "best_epoch": 1, "train_examples": 9}
    record = json.dumps(values | {"settings": settings})
    paths = []
    for seed in range(3000):
        path = tmp_path / llm("plain", seed).model / "run.json"
        path.parent.mkdir(parents=True)
        path.write_text(record)
        paths.append(str(path))
    assert len(" ".join(paths)) > 131072
    monkeypatch.chdir(ROOT)
    output = tmp_path / "choices.csv"
    shell(
        f"{sys.executable} -m scripts.analyse choices --runs {{paths}} --decodings"
        " --output {output}"
    )
    found = pd.read_csv(output)
    assert found.loc[found["setting"] == "alpha", "seed"].tolist() == [*range(3000)]


def full_of_tensors(text: str, output: Path) -> None:
    """As safetensors tells it; it takes the place of a link, and so fills no `/dev/full`."""
    raise SafetensorError("I/O error: No space left on device (os error 28)")


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda text, output: output.write_text(text), "free some disk space, and run again"),
        (full_of_tensors, "free some disk space, and run again"),
        (lambda text, output: torch.save(torch.zeros(1 << 16), output), "free some disk space"),
        (lambda text, output: torch.empty(1 << 45), "out of memory (.*); lower the training's"),
        (lambda text, output: np.empty(1 << 55), "out of memory (.*); lower the training's"),
    ],
)
def test_what_the_machine_lacks_is_one_message(tmp_path, caplog, write, said):
    (tmp_path / "full").symlink_to("/dev/full")
    words = ["--files", "a", "--output", str(tmp_path / "full")]
    with pytest.raises(SystemExit):
        run(step, write, words)
    assert re.search(said, caplog.text)
