"""SASRec's network: self-attention over item ids (Kang and McAuley, 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from scripts.baselines.settings import SASRec


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
    """Item plus learned position embeddings, then blocks of causal self-attention.

    Unlike in the paper, layer norm stands before both sub-layers, and sequences are aligned at
    their first item, so that padding needs no mask.
    """

    all_positions: ClassVar[bool] = True

    def __init__(self, items: int, longest: int, settings: SASRec) -> None:
        super().__init__()
        self.longest = longest
        self.items = nn.Embedding(items, settings.hidden_size)
        self.positions = nn.Embedding(longest, settings.hidden_size)
        self.dropout = nn.Dropout(settings.dropout)
        self.blocks = nn.ModuleList(Block(settings) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(settings.hidden_size)
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, items: Tensor, wanted: Tensor) -> Tensor:
        """Encode items, int64 (n, length), at the m wanted positions, bool, to float (m, width)."""
        length = items.shape[1]
        x = self.items(items) * self.items.embedding_dim**0.5
        x = self.dropout(x + self.positions.weight[:length])
        future = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        for block in self.blocks:
            x = block(x, future)
        return self.norm(x[wanted])
