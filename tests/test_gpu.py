"""GPUs are shared out to the jobs of a machine; none is needed to see how."""

import os
import subprocess
import sys
import time
from pathlib import Path

from scripts.gpu import take

SHOW = "import os, time; print(os.environ.get('CUDA_VISIBLE_DEVICES'), flush=True); time.sleep({})"


def start(folder: Path, count: int, visible: str, seconds: float) -> subprocess.Popen:
    """A job that says what it sees, and stays for a while."""
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "scripts.gpu", str(count)),
            *(sys.executable, "-c", SHOW.format(seconds)),
        ],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
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
    assert waiting.communicate(timeout=30)[0].strip() in ("4", "7")
    jobs[1].kill()
    for job in jobs:
        job.communicate()


def test_a_job_takes_all_its_gpus_or_none(tmp_path):
    first = take(["a", "b", "c"], 2, tmp_path)
    assert list(first) == ["a", "b"]
    assert take(["a", "b", "c"], 2, tmp_path) is None
    assert list(take(["a", "b", "c"], 1, tmp_path)) == ["c"]
    os.close(first["a"])
    os.close(first["b"])
    assert list(take(["MIG-x/1/0", "b"], 2, tmp_path)) == ["MIG-x/1/0", "b"]


def test_without_enough_gpus_the_command_sees_what_there_is(tmp_path):
    for count, visible in ((1, ""), (2, "0"), (0, "0,1")):
        seen = start(tmp_path, count, visible, 0).communicate(timeout=30)[0]
        assert seen.strip() == visible
