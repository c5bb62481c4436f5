"""What an objective gains over its base, paired per example."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.blocks import blocks_of, codes, read_block
from scripts.analyse.bootstrap import cluster_bootstrap, interval
from scripts.analyse.measure import METRICS, split_name
from scripts.cells import Cell, cell_of
from scripts.command import run
from scripts.contracts import PER_EXAMPLE
from scripts.files import write_csv

COLUMNS = [
    "dataset",
    "backbone",
    "decoder",
    "history",
    "objective",
    "base",
    "metric",
    "k",
    "base_value",
    "value",
    "difference",
    "low",
    "high",
    "relative_gain",
    "seed_sd",
    "seeds",
    "examples",
    "users",
]


def _compare(
    objective: np.ndarray, base: np.ndarray, users: np.ndarray, resamples: int, seed: int
) -> pd.DataFrame:
    """Compare two objectives.

    Args:
        objective: float (seeds, n, m), metrics of every example.
        base: the same of the base, with the same seeds and examples.
        users: int (n,).
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        m rows; a column of the input with a NaN gives a row of NaN.
    """
    difference = objective - base
    mean = difference.mean(axis=0)
    known = ~np.isnan(mean).any(axis=0)
    low, high = np.full((2, mean.shape[1]), np.nan)
    if known.any():
        low[known], high[known] = interval(
            cluster_bootstrap(mean[:, known], users, resamples, seed)
        )
    base_value = np.where(known, base.mean(axis=(0, 1)), np.nan)
    gain = np.where(known, mean.mean(axis=0), np.nan)
    per_seed = difference.mean(axis=1)
    return pd.DataFrame(
        {
            "base_value": base_value,
            "value": np.where(known, objective.mean(axis=(0, 1)), np.nan),
            "difference": gain,
            "low": low,
            "high": high,
            # Undefined where the base never hits.
            "relative_gain": 100 * gain / np.where(base_value > 0, base_value, np.nan),
            "seed_sd": per_seed.std(axis=0, ddof=1) if len(per_seed) > 1 else np.nan,
        }
    )


def gains(
    metrics: list[Path],
    output: Path,
    base: str = "plain",
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Compare every objective with its base on the same backbone, decoder, history and seeds.

    Differences are taken per example, averaged over the seeds that both have, and their mean gets
    a 95 % interval by resampling users. The interval holds the trained models as they are; the
    spread over trainings is `seed_sd`.

    Args:
        metrics: per-example metrics of LLM cells; baselines are ignored.
        output: CSV to write: dataset, backbone, decoder, history, objective, base, metric, k,
            base_value, value, difference, low, high, relative_gain (percent of base_value),
            seed_sd (of the difference, null for one seed), seeds, examples, users.
        base: name of the objective that the others are compared with.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    llms = [path for path in metrics if not cell_of(path).is_baseline]
    for (dataset, backbone), cells in blocks_of(llms).items():
        frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        settings = dict.fromkeys((c.objective, c.decoder, c.history) for c in frames)
        for objective, decoder, history in settings:
            seeds = [
                c.seed
                for c in frames
                if (c.objective, c.decoder, c.history) == (objective, decoder, history)
                and c._replace(objective=base) in frames
            ]
            if objective == base or not seeds:
                continue
            cell = Cell(dataset, backbone, objective, 0, decoder, history)
            ours, bases = (
                np.stack(
                    [
                        frames[cell._replace(objective=name, seed=s)][METRICS].to_numpy(float)
                        for s in seeds
                    ]
                )
                for name in (objective, base)
            )
            users = codes(next(iter(frames.values()))["user"])
            part = _compare(ours, bases, users, resamples, seed).assign(
                dataset=dataset,
                backbone=backbone,
                decoder=decoder,
                history=history,
                objective=objective,
                base=base,
                metric=[split_name(column)["metric"] for column in METRICS],
                k=[split_name(column)["k"] for column in METRICS],
                seeds=len(seeds),
                examples=len(users),
                users=users.max() + 1,
            )
            parts.append(part[COLUMNS])
    write_csv(pd.concat(parts[1:] or parts, ignore_index=True), output)


if __name__ == "__main__":
    run(gains)
