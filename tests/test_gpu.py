"""GPUs are shared out to the jobs of a machine; none is needed to see how."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts.gpu import take

SHOW = "import os, time; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); time.sleep({})"


#: A machine with two GPUs.
TOOL = "#!/bin/sh\necho '0, GPU-aa-1, 80000, H100'\necho '1, GPU-bb-2, 80000, H100'\n"


def start(
    folder: Path, count: int, visible: str | None, seconds: float, **variables: str
) -> subprocess.Popen:
    """A job that says what it sees, and stays for a while."""
    environment = os.environ | {"TMPDIR": str(folder)} | variables
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    if visible is not None:
        environment["CUDA_VISIBLE_DEVICES"] = visible
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "scripts.gpu", str(count)),
            *(sys.executable, "-c", SHOW.format(seconds)),
        ],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_jobs_side_by_side_take_different_gpus_and_wait_for_a_free_one(tmp_path):
    jobs = [start(tmp_path, 1, "4,7", 60) for _ in range(2)]
    assert sorted(job.stdout.readline().strip() for job in jobs) == ["4", "7"]
    waiting = start(tmp_path, 1, "4,7", 0)
    time.sleep(1.5)
    assert waiting.poll() is None
    # However a job ends, its GPU is free.
    jobs[0].kill()
    seen, told = waiting.communicate(timeout=30)
    assert seen.strip() in ("4", "7")
    assert told == "Waiting for 1 of the GPUs 4, 7: other jobs hold them\n"
    jobs[1].kill()
    for job in jobs:
        job.communicate()


def test_a_job_takes_all_its_gpus_or_none(tmp_path):
    gpus = {name: name for name in "abc"}
    first = take(gpus, 2, tmp_path)
    assert list(first) == ["a", "b"]
    assert take(gpus, 2, tmp_path) is None
    assert list(take(gpus, 1, tmp_path)) == ["c"]
    os.close(first["a"])
    os.close(first["b"])
    part = "MIG-x/1/0"
    assert list(take({part: part, "b": "b"}, 2, tmp_path)) == [part, "b"]


@pytest.fixture
def tool(tmp_path):
    """The PATH with a nvidia-smi of two GPUs."""
    file = tmp_path / "bin" / "nvidia-smi"
    file.parent.mkdir()
    file.write_text(TOOL)
    file.chmod(0o755)
    return f"{file.parent}:{os.environ['PATH']}"


def test_a_gpu_is_the_same_however_it_is_named(tmp_path, tool):
    """By its number, by its UUID or the beginning of it, or not at all."""
    holder = start(tmp_path, 1, "1", 60, PATH=tool)
    assert holder.stdout.readline().strip() == "1"
    for visible, seen in ((None, "GPU-aa-1"), ("GPU-bb,0", "0"), ("GPU-bb-2,GPU-aa", "GPU-aa")):
        other = start(tmp_path, 1, visible, 0, PATH=tool)
        assert other.communicate(timeout=30)[0].strip() == seen
    holder.kill()
    holder.communicate()


def test_what_slurm_gives_is_not_shared_out_again(tmp_path, tool):
    """The numbers that a job of Slurm sees may begin at 0 for each; more than it wants are the
    allocation of several jobs."""
    holders = [start(tmp_path, 1, "0", 60, PATH="", SLURM_JOB_ID=job) for job in "12"]
    assert [job.stdout.readline().strip() for job in holders] == ["0", "0"]
    jobs = [start(tmp_path, 1, "0,1", 60, PATH=tool, SLURM_JOB_ID="3") for _ in range(2)]
    assert sorted(job.stdout.readline().strip() for job in jobs) == ["0", "1"]
    for job in [*holders, *jobs]:
        job.kill()
        job.communicate()


def test_without_enough_gpus_the_command_sees_what_there_is(tmp_path):
    for count, visible in ((1, ""), (2, "0"), (0, "0,1")):
        seen = start(tmp_path, count, visible, 0).communicate(timeout=30)[0]
        assert seen.strip() == visible
