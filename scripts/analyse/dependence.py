"""How much a model leans on the history: the same decoding with and without it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.blocks import blocks_of, codes, read_block
from scripts.analyse.bootstrap import cluster_bootstrap, interval
from scripts.analyse.measure import METRICS, split_name
from scripts.cells import Cell, cell_of
from scripts.command import InputError, run
from scripts.contracts import PER_EXAMPLE, RECOMMENDATIONS
from scripts.files import read_table, write_csv

#: Depth at which the two lists are compared.
TOP = 10

COLUMNS = [
    "dataset",
    "backbone",
    "objective",
    "decoder",
    "seed",
    "metric",
    "k",
    "with_history",
    "without_history",
    "ratio",
    "difference",
    "low",
    "high",
    "overlap",
    "examples",
    "users",
]


def overlap(first: Path, second: Path, top: int = TOP) -> float:
    """Mean share of the first lists' top items that the second lists' top holds as well.

    Args:
        first: ranked lists.
        second: ranked lists of the same examples.
        top: depth of both; a shorter list counts as it is.

    Returns:
        a share between 0 and 1.
    """
    one, two = (
        table[table["rank"] <= top]
        for table in (
            read_table(path, RECOMMENDATIONS, ["example_id", "rank", "item_id"])
            for path in (first, second)
        )
    )
    shared = one.merge(two, on=["example_id", "item_id"]).groupby("example_id").size()
    listed = one.groupby("example_id").size()
    return float((shared.reindex(listed.index, fill_value=0) / listed).mean())


def dependence(
    metrics: list[Path],
    recommendations: list[Path],
    output: Path,
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Compare accuracy and lists with and without the history, per LLM, decoder and seed.

    Args:
        metrics: per-example metrics of LLM cells; baselines and unpaired cells are ignored.
        recommendations: ranked lists of the same cells.
        output: CSV to write: dataset, backbone, objective, decoder, seed, metric, k,
            with_history, without_history, ratio (without / with), difference (with - without)
            and its 95 % interval over users low, high, overlap (of the top 10, the same on all
            rows of a pair), examples, users.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    lists = {cell_of(path): path for path in recommendations}
    parts = [pd.DataFrame(columns=COLUMNS)]
    llms = [path for path in metrics if not cell_of(path).is_baseline]
    for (dataset, backbone), cells in blocks_of(llms).items():
        frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        users = codes(next(iter(frames.values()))["user"])
        for cell in frames:
            other = cell._replace(history="without")
            if cell.history != "with" or other not in frames:
                continue
            parts.append(
                _pair(frames[cell], frames[other], users, resamples, seed).assign(
                    dataset=dataset,
                    backbone=backbone,
                    objective=cell.objective,
                    decoder=cell.decoder,
                    seed=cell.seed,
                    overlap=overlap(_listed(lists, cell), _listed(lists, other)),
                    examples=len(users),
                    users=users.max() + 1,
                )[COLUMNS]
            )
    write_csv(pd.concat(parts[1:] or parts, ignore_index=True), output)


def _listed(lists: dict[Cell, Path], cell: Cell) -> Path:
    """The lists of a cell.

    Raises:
        InputError: they were not given.
    """
    if cell not in lists:
        raise InputError(f"no recommendations were given for {cell}; add their path")
    return lists[cell]


def _pair(
    shown: pd.DataFrame, hidden: pd.DataFrame, users: np.ndarray, resamples: int, seed: int
) -> pd.DataFrame:
    """One row per metric of a pair of cells with and without the history."""
    one, two = shown[METRICS].to_numpy(float), hidden[METRICS].to_numpy(float)
    known = ~np.isnan(one - two).any(axis=0)
    low, high = np.full((2, len(METRICS)), np.nan)
    if known.any():
        low[known], high[known] = interval(
            cluster_bootstrap((one - two)[:, known], users, resamples, seed)
        )
    first = np.where(known, one.mean(axis=0), np.nan)
    second = np.where(known, two.mean(axis=0), np.nan)
    return pd.DataFrame([split_name(column) for column in METRICS]).assign(
        with_history=first,
        without_history=second,
        ratio=second / np.where(first > 0, first, np.nan),
        difference=first - second,
        low=low,
        high=high,
    )


if __name__ == "__main__":
    run(dependence)
