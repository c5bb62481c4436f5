"""Item transitions: first-order and recency-weighted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scripts.baselines.lists import rank_in_blocks, write_lists
from scripts.baselines.settings import Transitions
from scripts.command import run
from scripts.contracts import EXAMPLES, ITEMS
from scripts.files import read_table


def transition_shares(examples: pd.DataFrame, items: int) -> sparse.csr_array:
    """How often each item is followed by each other, as a share of all its successors.

    Every training transition counts once: the last item of an example's history, then its target.

    Returns:
        (items, items) float64; a row sums to 1, or to 0 where the item has no successor.
    """
    source = examples["history"].str[-1].to_numpy().astype(int)
    counts = sparse.coo_array(
        (np.ones(len(source)), (source, examples["target"])), shape=(items, items)
    ).tocsr()
    successors = np.maximum(counts.sum(axis=1), 1)
    return (sparse.diags_array(1 / successors) @ counts).tocsr()


def history_weights(histories: pd.Series, items: int, decay: float) -> sparse.csr_array:
    """Weight of every item in every history: decay ** (steps back from the most recent item).

    Returns:
        (histories, items) float64; the weights of an item that occurs twice add up.
    """
    lengths = histories.str.len().to_numpy().astype(int)
    ends = np.cumsum(lengths)
    flat = np.concatenate(histories.to_list())
    steps_back = np.repeat(ends, lengths) - 1 - np.arange(len(flat))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return sparse.coo_array((decay**steps_back, (rows, flat)), shape=(len(lengths), items)).tocsr()


def recommend(
    train: Path,
    test: Path,
    items: Path,
    settings: Transitions,
    output: Path,
    depth: int = 50,
) -> None:
    """List the likeliest successors of the history's items for every test example.

    The score of an item is the sum over the history of weight times transition share. Items that
    no transition reaches follow by popularity, with a negative score; of equal scores the lower
    item_id comes first. Items of the history stay in the list, as in the published protocol.

    Args:
        train: training examples.
        test: examples to recommend for.
        items: the catalogue.
        settings: the decay of the weights.
        output: recommendations to write.
        depth: length of the lists.
    """
    size = len(read_table(items, ITEMS, ["item_id"]))
    training = read_table(train, EXAMPLES, ["history", "target"])
    examples = read_table(test, EXAMPLES, ["example_id", "history"])
    shares = transition_shares(training, size)
    weights = history_weights(examples["history"], size, settings.decay)
    counts = np.bincount(training["target"], minlength=size)
    fallback = counts / (counts.max() + 1) - 1  # in [-1, 0): below every transition

    def score(rows: slice) -> np.ndarray:
        scores = (weights[rows] @ shares).toarray()
        return np.where(scores > 0, scores, fallback)

    ids, scores = rank_in_blocks(score, len(examples), size, depth)
    write_lists(examples["example_id"].to_numpy(), ids, scores, output)


if __name__ == "__main__":
    run(recommend)
