"""What a run was made with: versions, device, peak memory, the machine's load."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers")


def device_name(device: torch.device) -> str:
    """Name of the GPU, or of the processor's architecture with the number of threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {torch.get_num_threads()} threads)"


def processor_name() -> str:
    """Kind of the processor, as the system names it, and the instructions that torch uses on it:
    both change how sums are rounded."""
    name = platform.processor()
    with suppress(OSError):  # Linux alone has the file, and platform says less there.
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next((ln.split(": ")[-1] for ln in lines if ln.startswith("model name")), name)
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process in MiB: allocated on the GPU, or resident on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    # Linux counts KiB here, macOS bytes.
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def forget_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mb` begin anew, from what is still in use; on macOS it goes on."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        # What was freed goes back to the system first; the workflow lets glibc keep it.
        ctypes.CDLL(None).malloc_trim(0)
        with suppress(OSError):  # Where /proc may not be written, it goes on too.
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def provenance(device: torch.device) -> dict[str, Any]:
    """Device, load and versions, for a run record.

    `load_average` counts the processes, this one among them, that wanted a core of the machine in
    the last minute: beyond `cores`, they waited for each other.
    """
    return {
        "device": device_name(device),
        "processor": processor_name(),
        "load_average": os.getloadavg()[0],
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": {library: version(library) for library in LIBRARIES},
    }
