"""Accuracy of every recommender, on examples that make the rows of a block comparable."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.contracts import PER_EXAMPLE
from scripts.evaluate.blocks import blocks_of, read_block
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import METRICS, measured, within


def accuracy(metrics: list[Path], draws: Draws = DRAWS) -> pd.DataFrame:
    """Average the per-example metrics of every recommender over its seeds.

    The 95 % intervals resample users and, crossed with them, seeds (see `cluster_bootstrap`).

    Every backbone makes a block with the baselines recomputed on its examples; a further block
    holds the baselines on the full test split.

    Args:
        metrics: per-example metrics of all cells, baselines included.
        draws: of the bootstrap.

    Returns:
        dataset, block, baseline (empty for a model), objective, decoder, history, metric (hr,
        ndcg), k, value, low, high, seed_sd (over the seeds' means, null for one seed), seeds,
        examples, users.
    """
    parts = [
        measured(read_block(cells, PER_EXAMPLE, ["user", *METRICS]), block, draws)
        for (_, block), cells in blocks_of(metrics).items()
    ]
    return within(pd.concat(parts, ignore_index=True)).drop(columns="p")
