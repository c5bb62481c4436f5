"""Examples and their titles: read, sub-sampled, and their lengths in a summary."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import InputError
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.files import read_table

#: Validation and test sub-samples are the same for all models, whatever their seed.
EVALUATION_SEED = 0


def read_titles(catalogue: Path) -> list[str]:
    """Titles in the order of `item_id`."""
    return read_table(catalogue, CATALOGUE, ["title"])["title"].tolist()


def read_examples(path: Path, items: int) -> pd.DataFrame:
    """EXAMPLES rows of a split, whose histories and targets are in a catalogue of so many items.

    Raises:
        InputError: an item is not in the catalogue.
    """
    examples = read_table(path, EXAMPLES)
    for column in ("target", "history"):
        item = examples.set_index("example_id")[column].explode().dropna().astype(int)
        unknown = item[(item < 0) | (item >= items)]
        if len(unknown):
            raise InputError(
                f"{path}: example_id {unknown.index[0]}, {column}: item {unknown.iloc[0]} is not "
                f"among the {items} of the catalogue; give the catalogue that was prepared with "
                "the examples"
            )
    return examples


def subsample(examples: pd.DataFrame, size: int | None, seed: int) -> pd.DataFrame:
    """A random sub-sample of examples, in their own order; all of them when `size` is null.

    The sub-samples of one seed are nested: a smaller one is part of a larger one.
    """
    if size is None or size >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).permutation(len(examples))[:size]
    return examples.iloc[np.sort(chosen)].reset_index(drop=True)


def summary(lengths: Sequence[int] | np.ndarray | pd.Series) -> dict[str, float]:
    """Mean, median, 95th percentile (the least length that 95 % do not exceed) and maximum."""
    values = np.asarray(lengths)
    return {
        "mean": float(values.mean()),
        "median": float(np.median(values)),
        "p95": int(np.quantile(values, 0.95, method="inverted_cdf")),
        "max": int(values.max()),
    }
