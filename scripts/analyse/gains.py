"""What an objective gains over its base, paired per example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from scripts.cells import Cell, cell_of
from scripts.contracts import PER_EXAMPLE
from scripts.evaluate.blocks import blocks_of, codes, read_block
from scripts.evaluate.bootstrap import DRAWS, Draws, between
from scripts.evaluate.measure import METRICS, adjusted, enough_hits, estimates, is_shown, split_name

COLUMNS = [
    *("dataset", "backbone", "decoder", "history", "objective", "base", "metric", "k"),
    *("base_value", "value", "difference", "low", "high", "p", "relative_gain", "seed_sd"),
    *("seeds", "examples", "users"),
]


class Pair(NamedTuple):
    """An objective and its base on the same seeds and examples."""

    cell: Cell
    """The objective's cell, of whichever seed."""
    base: str
    """Name of the base."""
    ours: np.ndarray
    """Float (seeds, n, m): `METRICS` of every example."""
    bases: np.ndarray
    """The same of the base."""
    users: np.ndarray
    """Int (n,), whose example it is."""
    examples: pd.Index
    """`example_id` (n,), ascending."""
    trainings: np.ndarray
    """Float (objectives, seeds, m): means of every objective but the base that was decoded alike
    with these seeds."""


def pairs(metrics: list[Path], objectives: dict[str, list[str]]) -> Iterator[Pair]:
    """Objectives with their bases on the same backbone, decoder, history and seeds. Args are those
    of `gains`."""
    llms = [path for path in metrics if not cell_of(path).baseline]
    for cells in blocks_of(llms).values():
        frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        first = next(iter(frames.values()))
        users = codes(first["user"])
        values = {cell: frame[METRICS].to_numpy(float) for cell, frame in frames.items()}
        for base, rivals in objectives.items():
            both: dict[Cell, list[Cell]] = {}
            for cell in values:
                wanted = cell.objective in rivals or (not rivals and cell.objective != base)
                if wanted and cell._replace(objective=base) in values:
                    both.setdefault(cell._replace(seed=0), []).append(cell)
            for cell, of_seeds in both.items():
                ours = np.stack([values[one] for one in of_seeds])
                bases = np.stack([values[one._replace(objective=base)] for one in of_seeds])
                names = dict.fromkeys(one.objective for one in values if one.objective != base)
                alike = [[one._replace(objective=name) for one in of_seeds] for name in names]
                known = [row for row in alike if values.keys() >= {*row}]
                trainings = np.array([[values[one].mean(axis=0) for one in row] for row in known])
                yield Pair(cell, base, ours, bases, users, first.index, trainings)


def gains(
    metrics: list[Path], objectives: dict[str, list[str]], draws: Draws = DRAWS
) -> pd.DataFrame:
    """Compare objectives with their bases on the same backbone, decoder, history and seeds.

    Differences are taken per example and seed; their mean gets a 95 % interval and a p-value by
    resampling users and, crossed with them, the seeds that both have (see `cluster_bootstrap`); the
    between-seed variance is pooled over the objectives (see `between`).

    Args:
        metrics: per-example metrics of LLM cells; baselines are ignored.
        objectives: by the name of a base those that are compared with it, none for all others.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, decoder, history, objective, base, metric, k, base_value, value,
        difference, low, high, p (two-sided), relative_gain (percent of base_value, null without
        `enough_hits`), seed_sd (of the difference, null for one seed), seeds, examples, users,
        p_holm (p adjusted over the metrics of `SHOWN`, with the history, of all comparisons with
        this base; null beyond them).
    """
    names = pd.DataFrame([split_name(column) for column in METRICS])
    parts = [pd.DataFrame(columns=COLUMNS)]
    for pair in pairs(metrics, objectives):
        pooled = between(pair.trainings - pair.bases.mean(axis=1)) if len(pair.ours) > 1 else None
        means = estimates(pair.ours - pair.bases, pair.users, draws, pooled)
        known = means["value"].notna()
        base_value = pd.Series(pair.bases.mean(axis=(0, 1))).where(known)
        part = names.join(means.rename(columns={"value": "difference"})).assign(
            **{name: getattr(pair.cell, name) for name in COLUMNS[:5]},
            base=pair.base,
            base_value=base_value,
            value=pd.Series(pair.ours.mean(axis=(0, 1))).where(known),
            relative_gain=100 * means["value"] / base_value.where(enough_hits(pair.bases)),
            seeds=len(pair.ours),
            examples=len(pair.users),
            users=pair.users.max() + 1,
        )
        parts.append(part[COLUMNS])
    frame = pd.concat(parts[1:] or parts, ignore_index=True).assign(p_holm=np.nan)
    for base in objectives:
        family = (frame["base"] == base) & (frame["history"] == "with") & is_shown(frame)
        frame["p_holm"] = frame["p_holm"].fillna(adjusted(frame["p"], family))
    return frame
