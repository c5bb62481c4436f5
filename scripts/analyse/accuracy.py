"""Accuracy of every recommender, on examples that make the rows of a block comparable."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.blocks import blocks_of, read_block
from scripts.analyse.bootstrap import RESAMPLES
from scripts.analyse.measure import METRICS, measured, within
from scripts.command import run
from scripts.contracts import PER_EXAMPLE
from scripts.files import write_csv


def accuracy(metrics: list[Path], output: Path, resamples: int = RESAMPLES, seed: int = 0) -> None:
    """Average the per-example metrics of every recommender over its seeds.

    The 95 % intervals resample users and, crossed with them, seeds (see `cluster_bootstrap`).

    Every backbone makes a block with the baselines recomputed on its very examples; a further
    block holds the baselines on the full test split.

    Args:
        metrics: per-example metrics of all cells, baselines included.
        output: CSV to write: dataset, block, recommender (backbone or `baselines`), objective
            (or the baseline's name), decoder, history, metric (hr, ndcg), k, value, low, high,
            seed_sd (over the seeds' means, null for one seed), seeds, examples, users.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    parts = [
        measured(read_block(cells, PER_EXAMPLE, ["user", *METRICS]), block, resamples, seed)
        for (_, block), cells in blocks_of(metrics).items()
    ]
    write_csv(within(pd.concat(parts, ignore_index=True)).drop(columns="p"), output)


if __name__ == "__main__":
    run(accuracy)
