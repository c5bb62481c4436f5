"""Run a command on GPUs of its own: `python -m scripts.gpu 1 python -m scripts.decode.recommend …`.

Jobs that run side by side on one machine each take GPUs that no other such job holds. A GPU is held
by a lock on a file, which ends with the command, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
import time
from argparse import REMAINDER, ArgumentParser
from pathlib import Path

#: Seconds between two looks for a free GPU.
PATIENCE = 1.0


def visible_gpus() -> list[str]:
    """What this process may use: CUDA_VISIBLE_DEVICES, or else all that nvidia-smi lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return answer.stdout.split()


def take(gpus: list[str], count: int, folder: Path) -> dict[str, int] | None:
    """Hold `count` of these GPUs, all at once or none, without waiting.

    Args:
        gpus: names as in CUDA_VISIBLE_DEVICES.
        count: how many are wanted.
        folder: of the lock files.

    Returns:
        the GPUs in the order given, each with the descriptor of its locked file, which holds it
        until it is closed; None if too few are free.
    """
    held: dict[str, int] = {}
    for gpu in gpus:
        if len(held) == count:
            break
        file = folder / f"gpu-{os.getuid()}-{gpu.replace('/', '-')}.lock"
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held[gpu] = descriptor
        except BlockingIOError:
            os.close(descriptor)
    if len(held) == count:
        return held
    for descriptor in held.values():
        os.close(descriptor)
    return None


def run_on_gpus(count: int, command: list[str]) -> None:
    """Become the command, as soon as so many GPUs are free; it sees no others.

    Where fewer are there at all, it sees what there is, and says itself what it misses.
    """
    gpus = visible_gpus()
    if 0 < count <= len(gpus):
        while (held := take(gpus, count, Path(tempfile.gettempdir()))) is None:
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
