"""GRU4Rec's network: a recurrent encoder of item ids (Hidasi et al., 2016)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from scripts.baselines.settings import GRU4Rec


class Model(nn.Module):
    """Gated recurrent units and a linear layer back to the width of the item embeddings."""

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
