"""Caser's network: convolutions over the last items (Tang and Wang, 2018)."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from scripts.baselines.settings import Caser


class Model(nn.Module):
    """Horizontal and vertical filters over a window, and a layer to the embeddings' width.

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
        """Encode the window that ends at each of the m wanted positions.

        Args:
            items: int64 (n, length).
            wanted: bool (n, length).

        Returns:
            float (m, width).
        """
        before = functional.pad(items, (self.longest - 1, 0), value=-1)
        windows = before.unfold(1, self.longest, 1)[wanted]
        # Nothing stands before the first item.
        x = self.items(windows.clamp(min=0)) * (windows >= 0)[..., None]
        x = x.transpose(1, 2)
        found = [filters(x).relu().amax(dim=2) for filters in self.horizontal]
        found.append(self.vertical(x).flatten(1))
        return self.merge(self.dropout(torch.cat(found, dim=1))).relu()
