"""Means of per-example metrics over seeds and examples, with intervals over users and seeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from scripts.cells import Cell
from scripts.contracts import CUTOFFS
from scripts.evaluate.blocks import codes
from scripts.evaluate.bootstrap import (
    Between,
    Draws,
    between,
    cluster_bootstrap,
    holm,
    interval,
    p_value,
    widened,
)

#: The metric columns of a per-example file.
METRICS = [f"{metric}@{k}" for metric in ("hr", "ndcg") for k in CUTOFFS]

#: The columns of a tidy table that name a recommender within a block, and what is measured of it.
KEYS = ["dataset", "block", "baseline", "objective", "decoder", "history", "metric", "k"]

#: The metrics that tables show, by the name of their column. An analysis adjusts the p-values of
#: these comparisons, as one family.
SHOWN = {"HR@5": ("hr", 5), "HR@10": ("hr", 10), "NDCG@5": ("ndcg", 5), "NDCG@10": ("ndcg", 10)}

#: Hits of the base from which on a relative gain is shown.
LEAST_HITS = 20

#: The columns of a paired difference, and the same with the adjusted p-value.
COMPARED = ["difference", "difference_low", "difference_high", "p"]
ADJUSTED = [*COMPARED[:3], "p_holm"]


def split_name(column: str) -> dict[str, str | int]:
    """`hr@10` as the columns `metric` and `k` of a tidy table."""
    metric, k = column.split("@")
    return {"metric": metric, "k": int(k)}


def estimates(
    values: np.ndarray, users: np.ndarray, draws: Draws, pooled: Between | None = None
) -> pd.DataFrame:
    """Means with their 95 % intervals.

    Args:
        values: float (seeds, n, m), m measurements of every example.
        users: int (n,), whose example it is.
        draws: of the bootstrap.
        pooled: between-seed variance of the m measurements; null takes their own.

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
        samples = cluster_bootstrap(measured, users, draws)
        if pooled is not None:
            pooled = Between(*(part[known] for part in pooled))
        samples = widened(samples, value, measured.mean(axis=1), pooled)
        frame.loc[known, "value"] = value
        frame.loc[known, "low"], frame.loc[known, "high"] = interval(samples)
        frame.loc[known, "p"] = p_value(samples)
        if len(values) > 1:
            frame.loc[known, "seed_sd"] = measured.mean(axis=1).std(axis=0, ddof=1)
    return frame


def enough_hits(bases: np.ndarray) -> np.ndarray:
    """Of which metrics a base, float (seeds, n, m), `METRICS` of every example, has the hits at the
    same K that a relative gain needs, over all seeds and examples: bool (m,). A gain over a
    handful of hits says nothing."""
    hits = bases[..., [METRICS.index(f"hr@{name.split('@')[1]}") for name in METRICS]]
    return enough(hits.sum(axis=(0, 1)))


def enough(hits: ArrayLike) -> Any:
    """Which numbers of hits are `LEAST_HITS` or more."""
    return hits >= LEAST_HITS


def is_shown(frame: pd.DataFrame) -> pd.Series:
    """Which rows are of the metrics and cut-offs of `SHOWN`."""
    points = pd.MultiIndex.from_frame(frame[["metric", "k"]])
    return pd.Series(points.isin(list(SHOWN.values())), frame.index)


def adjusted(p: pd.Series, family: pd.Series) -> pd.Series:
    """P-values adjusted by Holm's method over the rows of a family; null beyond it."""
    return pd.Series(holm(p.where(family).to_numpy(float)), p.index)


def within(frame: pd.DataFrame) -> pd.DataFrame:
    """Intervals of what lies between 0 and 1, such as HR, NDCG and overlap, cut there."""
    return frame.assign(low=frame["low"].clip(lower=0), high=frame["high"].clip(upper=1))


def measured(
    frames: dict[Cell, pd.DataFrame],
    block: str,
    draws: Draws,
    columns: list[str] = METRICS,
    pool: bool = False,
) -> pd.DataFrame:
    """Means of every metric of every recommender of one block over its seeds.

    All recommenders see the same draws of users. A metric that is null for an example (K beyond the
    list) has neither value nor interval.

    Args:
        frames: per cell the column `user` and `columns`, on the same examples in the same order.
        block: name of the block.
        draws: of the bootstrap.
        columns: what is measured, such as `hr@10`.
        pool: take the between-seed variance from all objectives of a decoder and history (see
            `between`), as differences do.

    Returns:
        `KEYS`, the columns of `estimates`, seeds, examples, users; in the order of the cells.
    """
    users = codes(next(iter(frames.values()))["user"])
    recommenders: dict[Cell, list[np.ndarray]] = {}
    for cell, frame in frames.items():
        seeds = recommenders.setdefault(cell._replace(seed=0), [])
        seeds.append(frame[columns].to_numpy(float))
    parts = {}
    # One bootstrap for all recommenders with equally many seeds.
    for count in set(map(len, recommenders.values())):
        equal = [cell for cell, seeds in recommenders.items() if len(seeds) == count]
        values = np.concatenate([np.stack(recommenders[cell]) for cell in equal], axis=2)
        pooled = pooled_by_objectives({c: recommenders[c] for c in equal}) if pool else None
        found = estimates(values, users, draws, pooled).assign(seeds=count)
        for i, cell in enumerate(equal):
            parts[cell] = found.iloc[i * len(columns) : (i + 1) * len(columns)]
    names = [cell._asdict() | split_name(name) for cell in recommenders for name in columns]
    return (
        pd.DataFrame(names)
        .assign(block=block)[KEYS]
        .join(pd.concat([parts[cell] for cell in recommenders], ignore_index=True))
        .assign(examples=len(users), users=users.max() + 1)
    )


def pooled_by_objectives(recommenders: dict[Cell, list[np.ndarray]]) -> Between | None:
    """The between-seed variances of recommenders with equally many seeds, each with the (n, m)
    measurements of every seed, one after the other; null for one seed.

    Those that differ in the objective alone share theirs, see `between`.
    """
    groups: dict[Cell, list[np.ndarray]] = {}
    for cell, seeds in recommenders.items():
        means = np.stack([one.mean(axis=0) for one in seeds])
        groups.setdefault(cell._replace(objective=""), []).append(means)
    if len(next(iter(recommenders.values()))) < 2:
        return None
    found = {group: between(np.stack(members)) for group, members in groups.items()}
    of_each = [found[cell._replace(objective="")] for cell in recommenders]
    return Between(*(np.concatenate(parts) for parts in zip(*of_each, strict=True)))


def compared(
    frames: dict[Cell, pd.DataFrame],
    base_of: Callable[[Cell], Cell],
    block: str,
    draws: Draws,
    columns: list[str] = METRICS,
) -> pd.DataFrame:
    """What `measured` gives, and the paired differences to a base over the seeds that both have.

    Args are those of `measured`, and `base_of`: a cell's base, one of the same seed.

    Returns:
        the columns of `measured`, p apart, and `COMPARED`: the difference, its interval and its p;
        null for a base itself, and where the base is not among the frames; and shared_seeds, those
        of the difference.
    """
    values = within(measured(frames, block, draws, columns)).drop(columns="p")
    changes = {
        cell: minus(frame, frames[base_of(cell)], columns)
        for cell, frame in frames.items()
        if base_of(cell) in frames and base_of(cell) != cell
    }
    return with_differences(values, changes, COMPARED, block, draws, columns)


def minus(frame: pd.DataFrame, base: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """A frame with the differences to another one in some of its columns."""
    return frame.assign(**(frame[columns] - base[columns]))


def with_differences(
    values: pd.DataFrame,
    changes: dict[Cell, pd.DataFrame],
    names: list[str],
    block: str,
    draws: Draws,
    columns: list[str],
) -> pd.DataFrame:
    """Rows of `measured` beside the means of differences, where their cell has one.

    Args are those of `measured`, with the differences per cell; `names` are the columns of the
    difference, its bounds and its p.

    Returns:
        `values`, `names` and shared_seeds, the seeds of the differences; null where there is none.
    """
    if not changes:
        return values.assign(**dict.fromkeys([*names, "shared_seeds"], np.nan))
    found = measured(changes, block, draws, columns, pool=True)
    renamed = dict(
        zip(["value", "low", "high", "p", "seeds"], [*names, "shared_seeds"], strict=True)
    )
    found = found[[*KEYS, *renamed]].rename(columns=renamed)
    return values.merge(found, how="left", on=KEYS, sort=False)
