"""What the benchmarks have in common: processes of their own, the machine, a ratio and its bar.

No torch here: a child's peak memory is never below what its parent holds when it starts it.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any


def alone(
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float | None = None,
    start: str = "spawn",
) -> Any:
    """What a function gives in a process of its own, which is ended after so many seconds.

    Raises:
        TimeoutError: it took longer.
        BrokenProcessPool: the process died.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context(start)) as pool:
        try:
            return pool.submit(function, *arguments).result(seconds)
        except TimeoutError:
            for child in multiprocessing.active_children():
                child.kill()
            raise


def machine(*libraries: str) -> str:
    """Processor, cores, memory, load average of the last minute, and versions."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = "".join(f", {library} {version(library)}" for library in libraries)
    return (
        f"{processor or platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, load "
        f"{os.getloadavg()[0]:.1f}, Python {platform.python_version()}{versions}"
    )


def bar(ratio: float, least: float) -> str:
    """A ratio beside its bar."""
    return f"{ratio:.1f} x (bar: at least {least:g} x, {'held' if ratio >= least else 'MISSED'})"
