"""Run a command on GPUs of its own: `python -m scripts.gpu 1 python -m scripts.decode.recommend …`.

Jobs that run side by side on one machine each take GPUs that no other such job holds. A GPU is held
by a lock on a file, which ends with the command, however it ends.
"""

from __future__ import annotations

import fcntl
import math
import os
import subprocess
import sys
import tempfile
import time
from argparse import REMAINDER, ArgumentParser
from pathlib import Path
from typing import NamedTuple

#: Seconds between two looks for a free GPU.
PATIENCE = 1.0


class Gpu(NamedTuple):
    """A GPU as nvidia-smi tells it: its memory is in GB, NaN where it tells none."""

    name: str
    memory_gb: float
    index: str = ""
    uuid: str = ""


def installed_gpus() -> list[Gpu]:
    """The GPUs that nvidia-smi lists; none where it cannot be run."""
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,name"]
    query += ["--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
        rows = [line.split(", ", 3) for line in answer.stdout.splitlines() if line.strip()]
        return [
            Gpu(name, (float(mib) if mib.isdigit() else math.nan) * 2**20 / 1e9, index, uuid)
            for index, uuid, mib, name in rows
        ]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []


def given_gpus() -> list[str] | None:
    """The names in CUDA_VISIBLE_DEVICES; None where it is not set."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is None:
        return None
    return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]


def visible_gpus() -> dict[str, str]:
    """The GPUs that this process may use, by their names in CUDA_VISIBLE_DEVICES, each with the one
    that all jobs of the machine know it by: its UUID.

    Where the variable is not set, all GPUs by their UUIDs. What nvidia-smi does not list, such as a
    part of a GPU, is known by its name.
    """
    installed = installed_gpus()
    given = given_gpus()
    if given is None:
        return {gpu.uuid: gpu.uuid for gpu in installed}
    return {
        name: next((g.uuid for g in installed if g.index == name or g.uuid.startswith(name)), name)
        for name in given
    }


def take(gpus: dict[str, str], count: int, folder: Path) -> dict[str, int] | None:
    """Hold `count` of the GPUs of `visible_gpus`, all at once or none, without waiting; their lock
    files lie in `folder`.

    Returns:
        the names of the GPUs in the order given, each with the descriptor of its locked file, which
        holds it until it is closed; None if too few are free.
    """
    held: dict[str, int] = {}
    for name, gpu in gpus.items():
        if len(held) == count:
            break
        file = folder / f"gpu-{os.getuid()}-{gpu.replace('/', '-')}.lock"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held[name] = descriptor
        except BlockingIOError:
            os.close(descriptor)
    if len(held) == count:
        return held
    for descriptor in held.values():
        os.close(descriptor)
    return None


def run_on_gpus(count: int, command: list[str]) -> None:
    """Become the command, as soon as so many GPUs are free; it sees no others.

    Where fewer are there at all, it sees what there is, and says itself what it misses. A job that
    Slurm has given as many as it wants takes them as they are.
    """
    gpus = visible_gpus() if count else {}
    own = "SLURM_JOB_ID" in os.environ and count == len(gpus)
    if 0 < count <= len(gpus) and not own:
        waiting = False
        while (held := take(gpus, count, Path(tempfile.gettempdir()))) is None:
            if not waiting:
                waiting = True
                text = f"Waiting for {count} of the GPUs {', '.join(gpus)}: other jobs hold them"
                print(text, file=sys.stderr, flush=True)
            time.sleep(PATIENCE)
        for descriptor in held.values():
            os.set_inheritable(descriptor, True)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
    os.execvp(command[0], command)


if __name__ == "__main__":
    parser = ArgumentParser("python -m scripts.gpu", description=__doc__)
    parser.add_argument(
        "count", type=int, help="GPUs that the command is to see; 0 changes nothing"
    )
    parser.add_argument("command", help="what to run on them")
    parser.add_argument("arguments", nargs=REMAINDER, help="of the command")
    given = parser.parse_args()
    run_on_gpus(given.count, [given.command, *given.arguments])
