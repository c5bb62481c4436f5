"""The headline: an objective's mean relative gain over its base, over two metrics and all sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.gains import pairs
from scripts.cells import ALL, BASE, cell_of
from scripts.evaluate.bootstrap import (
    DRAWS,
    Draws,
    between,
    cluster_bootstrap,
    interval,
    unbounded,
    widened,
)
from scripts.evaluate.measure import METRICS, enough_hits

#: The metrics whose relative gains are averaged (docs/paper.md, head).
HEADLINE = ("ndcg@5", "hr@5")

COLUMNS = [
    *("dataset", "backbone", "decoder", "objective", "base", "relative_gain", "low", "high"),
    *("low_90", "high_90", "p", "seed_sd", "datasets", "seeds", "examples", "users"),
]


def headline(metrics: list[Path], datasets: list[str], draws: Draws = DRAWS) -> pd.DataFrame:
    """Average the relative gains in NDCG@5 and HR@5 over `plain`, per data set and over them.

    A relative gain is the difference of the two means over the base's mean, not a mean of ratios.
    Its intervals resample users and, crossed with them, seeds, with the between-seed variance of
    all objectives (see `between`); different data sets are drawn independently of each other. A
    resample in which the base has no hit is `unbounded`, so that with few hits a bound of the
    interval may be unknown; without `enough_hits` there is no gain.

    Args:
        metrics: per-example metrics of LLM cells; those without history, and baselines, are
            ignored.
        datasets: those that the mean is over.
        draws: of the bootstrap.

    Returns:
        dataset (or `ALL`, where a backbone has several of `datasets`), backbone, decoder,
        objective, base, relative_gain (percent), low, high (95 %), low_90, high_90, p (two-sided,
        not adjusted), seed_sd (null for one seed, and over data sets), datasets (their number),
        seeds, examples, users (of all these data sets).
    """
    columns = [METRICS.index(metric) for metric in HEADLINE]
    rows: list[dict] = []
    samples: list[np.ndarray] = []
    drawn = dict[str, int]()
    shown = [path for path in metrics if cell_of(path).history == "with"]
    for pair in pairs(shown, {BASE: []}):
        cell, users = pair.cell, pair.users
        both = np.concatenate([pair.ours[:, :, columns], pair.bases[:, :, columns]], axis=2)
        order = drawn.setdefault(cell.dataset, len(drawn))
        own_draws = draws.model_copy(update={"seed": draws.seed + order})
        value = relative_gain(both.mean(axis=(0, 1))[None])
        per_seed = relative_gain(both.mean(axis=1))
        seeds = len(per_seed)
        sample = np.full(draws.resamples, np.nan)
        # A K beyond the decoder's lists is not known, and neither is the gain.
        if not np.isnan(both).any() and enough_hits(pair.bases)[columns].all():
            base_means = pair.bases[:, :, columns].mean(axis=1)
            others = pair.trainings[..., columns]
            peers = np.stack([relative_gain(np.hstack([one, base_means])) for one in others])
            sample = relative_gain(cluster_bootstrap(both, users, own_draws))[:, None]
            pooled = between(peers[..., None]) if seeds > 1 else None
            sample = widened(sample, value, per_seed[:, None], pooled)[:, 0]
        else:
            value = np.array([np.nan])
        samples.append(sample)
        rows.append(
            {name: getattr(cell, name) for name in COLUMNS[:4]}
            | {"base": pair.base, "relative_gain": value.item()}
            | {"seed_sd": per_seed.std(ddof=1) if seeds > 1 else np.nan, "datasets": 1}
            | {"seeds": seeds, "examples": len(users), "users": users.max() + 1}
        )
    found = pd.DataFrame(rows, columns=COLUMNS)
    found = found[found["dataset"].isin(datasets)]
    for _, members in found.groupby(["backbone", "decoder", "objective"], sort=False):
        if len(members) > 1:
            sums = members[["datasets", "examples", "users"]].sum()
            rows.append(
                members.iloc[0].to_dict()
                | {"dataset": ALL, "relative_gain": members["relative_gain"].mean(skipna=False)}
                | {"seed_sd": np.nan, "seeds": members["seeds"].min(), **sums}
            )
            samples.append(np.mean([samples[i] for i in members.index], axis=0))
    for row, sample in zip(rows, samples, strict=True):
        low, row["high"], row["p"] = unbounded(sample)
        # No gain is below the loss of all hits.
        row["low"] = np.maximum(low, -100.0)
        row["low_90"], row["high_90"] = interval(sample, 0.9)
    return pd.DataFrame(rows, columns=COLUMNS)


def relative_gain(means: np.ndarray) -> np.ndarray:
    """Mean of the relative gains over the headline's metrics.

    Args:
        means: float (r, 2m): m means of the objective, then the same of the base.

    Returns:
        percent, float (r,); NaN where a mean of the base is 0.
    """
    ours, bases = np.split(means, 2, axis=1)
    return 100 * ((ours - bases) / np.where(bases > 0, bases, np.nan)).mean(axis=1)
