"""SASRec's network, its file, and the scores that it gives histories."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from scripts.baselines.settings import SASRec
from scripts.command import InputError
from scripts.files import atomic


def padded(histories: pd.Series, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """The last items of each history, filled from the left.

    Returns:
        items, int64 (n, longest), and lengths, int64 (n,).
    """
    cut = [history[-longest:] for history in histories]
    lengths = np.array([len(history) for history in cut])
    items = np.zeros((len(cut), longest), np.int64)
    items[np.arange(longest) < lengths[:, None]] = np.concatenate(cut)
    return items, lengths


class Block(nn.Module):
    """Causal self-attention and a point-wise feed-forward network, each with a residual."""

    def __init__(self, settings: SASRec) -> None:
        super().__init__()
        width = settings.hidden_size
        self.heads = settings.heads
        self.attention_norm = nn.LayerNorm(width)
        self.project = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(width, width),
        )
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, x: Tensor, future: Tensor) -> Tensor:
        """Map float (n, length, width) to the same; `future` masks, bool (length, length)."""
        n, length, width = x.shape
        heads = self.project(self.attention_norm(x)).view(n, length, 3, self.heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        # Spelt out: windows are short, and this is deterministic on every device.
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5
        attention = self.dropout(scores.masked_fill(future, -torch.inf).softmax(dim=-1))
        mixed = (attention @ value).transpose(1, 2).reshape(n, length, width)
        x = x + self.dropout(self.merge(mixed))
        return x + self.dropout(self.feed_forward(self.norm(x)))


class Model(nn.Module):
    """SASRec's encoder; its scores are products with the item embeddings."""

    def __init__(self, items: int, longest: int, settings: SASRec) -> None:
        super().__init__()
        self.items = nn.Embedding(items, settings.hidden_size)
        self.positions = nn.Embedding(longest, settings.hidden_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.hidden_size)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, items: Tensor) -> Tensor:
        """Encode items, int64 (n, length), to float (n, length, width)."""
        length = items.shape[1]
        x = self.items(items) * self.items.embedding_dim**0.5
        x = self.dropout(x + self.positions.weight[:length])
        future = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        for block in self.blocks:
            x = block(x, future)
        return self.norm(x)


def scorer(
    model: Model, histories: pd.Series, longest: int, device: torch.device
) -> Callable[[slice], Tensor]:
    """Function that scores all items, float32 (rows, items), for a slice of the histories."""
    items, lengths = padded(histories, longest)

    @torch.inference_mode()
    def score(rows: slice) -> Tensor:
        model.eval()
        block = torch.from_numpy(items[rows]).to(device)
        last = torch.from_numpy(lengths[rows] - 1).to(device)
        hidden = model(block)[torch.arange(len(block), device=device), last]
        return hidden @ model.items.weight.T

    return score


def save_model(model: Model, settings: SASRec, path: Path) -> None:
    """Write a model as safetensors, its settings among the metadata."""
    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic(path) as partial:
        save_file(tensors, partial, {"sasrec": settings.model_dump_json()})


def load_model(path: Path, device: torch.device) -> Model:
    """A model that `save_model` wrote, in inference mode.

    Raises:
        InputError: the file is missing or holds no such model.
    """
    try:
        with safe_open(path, "pt") as stream:
            settings = SASRec.model_validate_json((stream.metadata() or {})["sasrec"])
            tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: holds no SASRec model ({error}); run the baseline that writes it"
        ) from error
    model = Model(len(tensors["items.weight"]), len(tensors["positions.weight"]), settings)
    model.load_state_dict(tensors)
    return model.to(device).eval()
