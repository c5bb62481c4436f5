"""What an objective gains over its base, paired per example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scripts.analyse.blocks import blocks_of, codes, read_block
from scripts.analyse.bootstrap import RESAMPLES
from scripts.analyse.measure import METRICS, estimates, split_name
from scripts.cells import Cell, cell_of
from scripts.command import run
from scripts.contracts import PER_EXAMPLE
from scripts.files import write_csv

COLUMNS = [
    *("dataset", "backbone", "decoder", "history", "objective", "base", "metric", "k"),
    *("base_value", "value", "difference", "low", "high", "p", "relative_gain", "seed_sd"),
    *("seeds", "examples", "users"),
]


class Pair(NamedTuple):
    """An objective and its base on the same seeds and examples."""

    cell: Cell
    """The objective's cell, of whichever seed."""
    values: np.ndarray
    """Float (seeds, n, m): `METRICS` of every example."""
    base: np.ndarray
    """The same of the base."""
    users: np.ndarray
    """Int (n,), whose example it is."""
    examples: pd.Index
    """`example_id` (n,), ascending."""


def pairs(metrics: list[Path], base: str) -> Iterator[Pair]:
    """Every objective with its base on the same backbone, decoder, history and seeds.

    Args:
        metrics: per-example metrics of all cells; baselines are ignored.
        base: name of the objective that the others are compared with.
    """
    llms = [path for path in metrics if not cell_of(path).is_baseline]
    for cells in blocks_of(llms).values():
        frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        first = next(iter(frames.values()))
        users = codes(first["user"])
        both: dict[Cell, list[Cell]] = {}
        for cell in frames:
            if cell.objective != base and cell._replace(objective=base) in frames:
                both.setdefault(cell._replace(seed=0), []).append(cell)
        for cell, of_seeds in both.items():
            ours, bases = (
                np.stack([frames[one][METRICS].to_numpy(float) for one in chosen])
                for chosen in (of_seeds, [one._replace(objective=base) for one in of_seeds])
            )
            yield Pair(cell, ours, bases, users, first.index)


def gains(
    metrics: list[Path],
    output: Path,
    base: str = "plain",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Compare every objective with its base on the same backbone, decoder, history and seeds.

    Differences are taken per example and seed; their mean gets a 95 % interval and a p-value by
    resampling users and, crossed with them, the seeds that both have (see `cluster_bootstrap`). A
    table that shows several of these p-values adjusts them with `holm`.

    Args:
        metrics: per-example metrics of LLM cells; baselines are ignored.
        output: CSV to write: dataset, backbone, decoder, history, objective, base, metric, k,
            base_value, value, difference, low, high, p (two-sided, not adjusted), relative_gain
            (percent of base_value), seed_sd (of the difference, null for one seed), seeds,
            examples, users.
        base: name of the objective that the others are compared with.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    names = pd.DataFrame([split_name(column) for column in METRICS])
    parts = [pd.DataFrame(columns=COLUMNS)]
    for cell, values, bases, users, _ in pairs(metrics, base):
        found = estimates(values - bases, users, resamples, seed)
        known = found["value"].notna()
        base_value = pd.Series(bases.mean(axis=(0, 1))).where(known)
        part = names.join(found.rename(columns={"value": "difference"})).assign(
            **{name: getattr(cell, name) for name in COLUMNS[:5]},
            base=base,
            base_value=base_value,
            value=pd.Series(values.mean(axis=(0, 1))).where(known),
            # Undefined where the base never hits.
            relative_gain=100 * found["value"] / base_value.where(base_value > 0),
            seeds=len(values),
            examples=len(users),
            users=users.max() + 1,
        )
        parts.append(part[COLUMNS])
    write_csv(pd.concat(parts[1:] or parts, ignore_index=True), output)


if __name__ == "__main__":
    run(gains)
