"""What the benchmarks say alike: the machine, and a ratio beside its bar.

No torch here: a child's peak memory is never below what its parent holds when it starts it.
"""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


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
