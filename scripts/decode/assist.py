"""D3's text-free assistant: a sequential recommender's probability of each title."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from scripts.baselines.sequential_model import load_model, scorer


def title_probabilities(
    model: Path, train_count: np.ndarray, title_of_item: np.ndarray, device: torch.device
) -> Callable[[Sequence[Sequence[int]]], Tensor]:
    """The assistant's probability of each title after a history.

    A title has the probability of all its items: the softmax over the assistant's scores. The
    assistant has no score for an empty history; there it takes the items' shares of the training
    targets, so that it knows nothing of the user.

    Args:
        model: safetensors of the assistant, a trained baseline of any kind.
        train_count: (items,) training targets of each item.
        title_of_item: (items,) int64, the title of each item.
        device: where to run.

    Returns:
        Function from histories, item ids with the oldest first, to (histories, titles) float64.
    """
    network = load_model(model, device)
    titles = torch.from_numpy(title_of_item).to(device)
    popular = torch.from_numpy(train_count / max(train_count.sum(), 1)).double().to(device)

    def probabilities(histories: Sequence[Sequence[int]]) -> Tensor:
        items = popular.repeat(len(histories), 1)
        known = [i for i, history in enumerate(histories) if len(history)]
        if known:
            shown = pd.Series([np.asarray(histories[i]) for i in known])
            items[known] = scorer(network, shown, device)(slice(None)).double().softmax(1)
        sums = torch.zeros(len(histories), int(titles.max()) + 1, dtype=items.dtype, device=device)
        return sums.index_add_(1, titles, items)

    return probabilities
