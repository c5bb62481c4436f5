"""Means of per-example metrics over seeds and examples, with intervals over users and seeds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from scripts.analyse.blocks import codes, identity
from scripts.analyse.bootstrap import cluster_bootstrap, interval, p_value, widened
from scripts.cells import Cell
from scripts.contracts import CUTOFFS

#: The metric columns of a per-example file.
METRICS = [f"{metric}@{k}" for metric in ("hr", "ndcg") for k in CUTOFFS]

#: The columns of a paired difference.
COMPARED = ["difference", "difference_low", "difference_high", "p"]


def split_name(column: str) -> dict[str, str | int]:
    """`hr@10` as the columns `metric` and `k` of a tidy table."""
    metric, k = column.split("@")
    return {"metric": metric, "k": int(k)}


def estimates(values: np.ndarray, users: np.ndarray, resamples: int, seed: int) -> pd.DataFrame:
    """Means with their 95 % intervals.

    Args:
        values: float (seeds, n, m), m measurements of every example.
        users: int (n,), whose example it is.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        m rows: value, low, high (users resampled, seeds crossed with them), p (two-sided, against
        0) and seed_sd (standard deviation over the seeds, null for one); all null for a measurement
        that holds a NaN.
    """
    known = ~np.isnan(values).any(axis=(0, 1))
    frame = pd.DataFrame(
        np.nan, index=range(values.shape[2]), columns=["value", "low", "high", "p", "seed_sd"]
    )
    if known.any():
        measured = values[:, :, known]
        value = measured.mean(axis=(0, 1))
        samples = cluster_bootstrap(measured, users, resamples, seed)
        samples = widened(samples, value, measured.mean(axis=1))
        frame.loc[known, "value"] = value
        frame.loc[known, "low"], frame.loc[known, "high"] = interval(samples)
        frame.loc[known, "p"] = p_value(samples)
        if len(values) > 1:
            frame.loc[known, "seed_sd"] = measured.mean(axis=1).std(axis=0, ddof=1)
    return frame


def within(frame: pd.DataFrame) -> pd.DataFrame:
    """Intervals of what lies between 0 and 1, such as HR, NDCG and overlap, cut there."""
    return frame.assign(low=frame["low"].clip(lower=0), high=frame["high"].clip(upper=1))


def measured(
    frames: dict[Cell, pd.DataFrame], block: str, resamples: int, seed: int
) -> pd.DataFrame:
    """Means of every metric of every recommender of one block over its seeds.

    All recommenders see the same draws of users. A metric that is null for an example (K beyond the
    list) has neither value nor interval.

    Args:
        frames: per cell the column `user` and `METRICS`, on the same examples in the same order.
        block: name of the block.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        the columns of `identity` without the seed, metric, k, those of `estimates`, seeds,
        examples, users; in the order of the cells.
    """
    users = codes(next(iter(frames.values()))["user"])
    recommenders: dict[Cell, list[np.ndarray]] = {}
    for cell, frame in frames.items():
        seeds = recommenders.setdefault(cell._replace(seed=0), [])
        seeds.append(frame[METRICS].to_numpy(float))
    parts = {}
    # One bootstrap for all recommenders with equally many seeds.
    for count in set(map(len, recommenders.values())):
        equal = [cell for cell, seeds in recommenders.items() if len(seeds) == count]
        values = np.concatenate([np.stack(recommenders[cell]) for cell in equal], axis=2)
        found = estimates(values, users, resamples, seed).assign(seeds=count)
        for i, cell in enumerate(equal):
            parts[cell] = found.iloc[i * len(METRICS) : (i + 1) * len(METRICS)]
    names = [
        identity(cell, block) | split_name(column) for cell in recommenders for column in METRICS
    ]
    return (
        pd.DataFrame(names)
        .drop(columns="seed")
        .join(pd.concat([parts[cell] for cell in recommenders], ignore_index=True))
        .assign(examples=len(users), users=users.max() + 1)
    )


def compared(
    frames: dict[Cell, pd.DataFrame],
    base_of: Callable[[Cell], Cell],
    block: str,
    resamples: int,
    seed: int,
) -> pd.DataFrame:
    """What `measured` gives, and the paired differences to a base over the seeds that both have.

    Args:
        frames: as `measured` takes them.
        base_of: a cell's base, one of the same seed.
        block: name of the block.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        the columns of `measured`, p apart, and `COMPARED`: the difference, its interval and its p;
        null for a base itself, and where the base is not among the frames; and shared_seeds, those
        of the difference.
    """
    values = within(measured(frames, block, resamples, seed)).drop(columns="p")
    changes = {}
    for cell, frame in frames.items():
        base = frames.get(base_of(cell))
        if base is not None and base is not frame:
            changes[cell] = frame.assign(**(frame[METRICS] - base[METRICS]))
    if not changes:
        return values.assign(**dict.fromkeys([*COMPARED, "shared_seeds"], np.nan))
    differences = measured(changes, block, resamples, seed)
    columns = dict(zip(["value", "low", "high", "p"], COMPARED, strict=True))
    columns["seeds"] = "shared_seeds"
    keys = [*identity(next(iter(frames)), block), "metric", "k"]
    keys.remove("seed")
    return values.merge(
        differences[[*keys, *columns]].rename(columns=columns), how="left", on=keys, sort=False
    )
