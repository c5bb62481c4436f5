"""Where models run."""

from __future__ import annotations

from typing import Literal

import torch

from scripts.command import InputError

Device = Literal["auto", "cpu", "cuda"]


def torch_device(device: Device) -> torch.device:
    """The device of that name; `auto` takes a GPU where there is one.

    Raises:
        InputError: a GPU is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "device: cuda was asked for, but there is no usable GPU; run this job on a machine "
            "that has one, or set `device: cpu` in the configuration"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)
