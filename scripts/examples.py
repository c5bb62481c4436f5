"""Examples in words: the titles of the catalogue and of histories, and sub-samples of examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.contracts import ITEMS
from scripts.files import read_table

#: Validation and test sub-samples are the same for all models, whatever their seed.
EVALUATION_SEED = 0


def read_titles(items: Path) -> list[str]:
    """Titles in the order of `item_id`."""
    return read_table(items, ITEMS, ["title"])["title"].tolist()


def subsample(examples: pd.DataFrame, size: int | None, seed: int) -> pd.DataFrame:
    """A random sub-sample of examples, in their own order; all of them when `size` is null.

    The sub-samples of one seed are nested: a smaller one is part of a larger one.
    """
    if size is None or size >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).permutation(len(examples))[:size]
    return examples.iloc[np.sort(chosen)].reset_index(drop=True)
