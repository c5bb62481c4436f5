"""Item transitions: first-order and recency-weighted.

The weight 1 / k of what lies k steps back, in counting and in scoring, is that of the sequential
rules of Ludewig and Jannach (Evaluation of session-based recommendation algorithms, 2018), which
count transitions over several steps; they score by the last item alone and shrink no shares. The
form and the default shrinkage were chosen on validation splits, see docs/baselines.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from scripts.baselines.lists import rank_in_blocks, write_lists
from scripts.baselines.settings import Transitions
from scripts.command import run
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.files import read_table


def nearness(histories: pd.Series, items: int) -> sparse.csr_array:
    """Weight of every item in every history: 1 / k for the k-th from the end. (histories, items)
    float64; the weights of an item that occurs twice add up."""
    lengths = histories.str.len().to_numpy().astype(int)
    ends = np.cumsum(lengths)
    flat = np.concatenate(histories.to_list())
    steps = np.repeat(ends, lengths) - np.arange(len(flat))
    rows = np.repeat(np.arange(len(lengths)), lengths)
    return sparse.coo_array((1 / steps, (rows, flat)), shape=(len(lengths), items)).tocsr()


def transition_shares(train: pd.DataFrame, items: int, shrinkage: float) -> sparse.csr_array:
    """How often each item is followed by each other, as a share of all its successors.

    A user's item that another one follows after k steps counts 1 / k, for every k that a history
    reaches: as each training target is an example, its history holds all such pairs once.

    Args:
        train: training examples.
        items: number of items.
        shrinkage: added to the sum of an item's counts.

    Returns:
        (items, items) float64; a row sums to less than 1 by the shrinkage's share.
    """
    targets = sparse.coo_array(
        (np.ones(len(train)), (np.arange(len(train)), train["target"])), shape=(len(train), items)
    ).tocsr()
    counts = nearness(train["history"], items).T @ targets
    totals = counts.sum(axis=1) + shrinkage
    return (sparse.diags_array(1 / np.where(totals > 0, totals, 1)) @ counts).tocsr()


def recommend(
    train: Path, test: Path, catalogue: Path, settings: Transitions, output: Path, depth: int = 50
) -> None:
    """List the likeliest successors of the history's items for every test example.

    The score of an item is the sum over the history of nearness times transition share. Items that
    no transition reaches follow by popularity, with a negative score; of equal scores the lower
    item_id comes first. Items of the history stay in the list, as in the published protocol.

    Args:
        train: training examples.
        test: examples to recommend for.
        catalogue: the data set's catalogue.
        settings: the shrinkage of the shares.
        output: recommendations to write.
        depth: length of the lists.
    """
    items = read_table(catalogue, CATALOGUE)
    size = len(items)
    training = read_table(train, EXAMPLES, ["history", "target"])
    examples = read_table(test, EXAMPLES, ["example_id", "history"])
    shares = transition_shares(training, size, settings.shrinkage)
    weights = nearness(examples["history"], size)
    counts = np.bincount(training["target"], minlength=size)
    fallback = counts / (counts.max() + 1) - 1  # in [-1, 0): below every transition

    def score(rows: slice) -> np.ndarray:
        scores = (weights[rows] @ shares).toarray()
        return np.where(scores > 0, scores, fallback)

    ids, scores = rank_in_blocks(score, len(examples), items, depth)
    write_lists(examples["example_id"].to_numpy(), ids, scores, output)


if __name__ == "__main__":
    run(recommend)
