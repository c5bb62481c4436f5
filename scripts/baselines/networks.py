"""The networks of the trained baselines, encoders of item ids.

Each has `items`, the item embeddings, whose products with what it encodes are the scores;
`longest`, the items of a history that it sees; and `all_positions`, whether one pass over a
sequence gives every position its whole context.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.baselines.settings import Caser, GRU4Rec, SASRec


class GRU4RecNetwork(nn.Module):
    """GRU4Rec (Hidasi et al., 2016): gated recurrent units and a linear layer back to the width of
    the item embeddings."""

    all_positions: ClassVar[bool] = True

    def __init__(self, items: int, longest: int, settings: GRU4Rec) -> None:
        super().__init__()
        width = settings.hidden_size
        self.longest = longest
        self.items = nn.Embedding(items, width)
        self.dropout = nn.Dropout(settings.dropout)
        self.layers = nn.GRU(
            width, width, settings.layers, batch_first=True,
            dropout=settings.dropout if settings.layers > 1 else 0.0,
        )  # fmt: skip
        self.merge = nn.Linear(width, width)
        nn.init.xavier_normal_(self.items.weight)

    def forward(self, items: Tensor, wanted: Tensor) -> Tensor:
        """Encode items, int64 (n, length), at the m wanted positions, bool, to float (m, width)."""
        states, _ = self.layers(self.dropout(self.items(items)))
        return self.merge(states[wanted])


class CaserNetwork(nn.Module):
    """Caser (Tang and Wang, 2018): horizontal and vertical filters over a window, and a layer to
    the width of the embeddings.

    As in the released baselines of this family of papers, filters are two to four items high
    (the paper's: one item to the whole window) and there is no embedding of the user, as test users
    may be new and the other recommenders see the history alone. Scores are products with the same
    item embeddings that the filters see.
    """

    all_positions: ClassVar[bool] = False

    def __init__(self, items: int, longest: int, settings: Caser) -> None:
        super().__init__()
        width = settings.hidden_size
        self.longest = longest
        self.items = nn.Embedding(items, width)
        self.horizontal = nn.ModuleList(
            nn.Conv1d(width, settings.horizontal_filters, min(height, longest))
            for height in settings.heights
        )
        self.vertical = nn.Linear(longest, settings.vertical_filters, bias=False)
        filtered = len(settings.heights) * settings.horizontal_filters
        filtered += width * settings.vertical_filters
        self.dropout = nn.Dropout(settings.dropout)
        self.merge = nn.Linear(filtered, width)
        nn.init.normal_(self.items.weight, std=1 / width)

    def forward(self, items: Tensor, wanted: Tensor) -> Tensor:
        """Encode the window of items, int64 (n, length), that ends at each of the m wanted
        positions, bool (n, length), to float (m, width)."""
        before = functional.pad(items, (self.longest - 1, 0), value=-1)
        windows = before.unfold(1, self.longest, 1)[wanted]
        # Nothing stands before the first item.
        x = self.items(windows.clamp(min=0)) * (windows >= 0)[..., None]
        x = x.transpose(1, 2)
        found = [filters(x).relu().amax(dim=2) for filters in self.horizontal]
        found.append(self.vertical(x).flatten(1))
        return self.merge(self.dropout(torch.cat(found, dim=1))).relu()


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


class SASRecNetwork(nn.Module):
    """SASRec (Kang and McAuley, 2018): item plus learned position embeddings, then blocks of causal
    self-attention.

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
