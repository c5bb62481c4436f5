"""A network of a trained baseline: made afresh, its file, and the scores that it gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from scripts.baselines.networks import CaserNetwork, GRU4RecNetwork, SASRecNetwork
from scripts.baselines.settings import Sequential
from scripts.command import InputError
from scripts.extensions import own
from scripts.files import atomic

Model = CaserNetwork | GRU4RecNetwork | SASRecNetwork

KINDS: dict[str, type[Model]] = {
    "caser": CaserNetwork,
    "gru4rec": GRU4RecNetwork,
    "sasrec": SASRecNetwork,
}


def make_model(items: int, longest: int, settings: Sequential) -> Model:
    """A fresh network for so many items, which sees the `longest` last ones of a history."""
    network = own(settings.module, "Model") if settings.kind == "own" else KINDS[settings.kind]
    return network(items, longest, settings)


def padded(histories: pd.Series, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The last items of each history, filled from the left, int64 (n, longest), and how many they
    are, int64 (n,)."""
    cut = [history[-longest:] for history in histories]
    lengths = np.array([len(history) for history in cut])
    items = np.zeros((len(cut), longest), np.int64)
    items[np.arange(longest) < lengths[:, None]] = np.concatenate(cut)
    return items, lengths


def scorer(model: Model, histories: pd.Series, device: torch.device) -> Callable[[slice], Tensor]:
    """Function that scores all items, float32 (rows, items), for a slice of the histories."""
    items, lengths = padded(histories, model.longest)
    last = np.arange(model.longest) == lengths[:, None] - 1

    @torch.inference_mode()
    def score(rows: slice) -> Tensor:
        model.eval()
        shown, wanted = (torch.from_numpy(array[rows]).to(device) for array in (items, last))
        return model(shown, wanted) @ model.items.weight.T

    return score


def save_model(model: Model, settings: Sequential, path: Path) -> None:
    """Write a model as safetensors, its kind, settings and checksum among the metadata."""
    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    about = {"settings": settings.model_dump(), "longest": model.longest, "sha256": digest(tensors)}
    with atomic(path) as partial:
        # One key: safetensors writes several in any order, and the file's bytes should come again.
        save_file(tensors, partial, {"about": json.dumps(about)})


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 of tensors, as safetensors has no checksum."""
    whole = b"".join(tensors[name].numpy().tobytes() for name in sorted(tensors))
    return hashlib.sha256(whole).hexdigest()


def load_model(path: Path, device: torch.device) -> Model:
    """A model that `save_model` wrote, in inference mode.

    Raises:
        InputError: the file is missing or holds no such model.
    """
    try:
        with safe_open(path, "pt") as stream:
            about = json.loads((stream.metadata() or {})["about"])
            # The stream is no mapping: only its keys can be iterated over.
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if about["sha256"] != digest(tensors):
            raise ValueError("it is damaged: its checksum differs")
        settings = TypeAdapter(Sequential).validate_python(about["settings"])
        model = make_model(len(tensors["items.weight"]), int(about["longest"]), settings)
        model.load_state_dict(tensors)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: holds no sequential recommender ({error}); run the baseline that writes it"
        ) from error
    return model.to(device).eval()
