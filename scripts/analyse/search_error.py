"""How far lists of beam search are from the exact ranking, and what that does to the accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.blocks import codes
from scripts.analyse.bootstrap import RESAMPLES
from scripts.analyse.measure import estimates
from scripts.cells import model_of
from scripts.command import run
from scripts.evaluate.ranking import gains, hits
from scripts.files import read_csv, write_csv

METRICS = {"hr": hits, "ndcg": gains}
K = 10


def search_error(
    audits: list[Path], output: Path, resamples: int = RESAMPLES, seed: int = 0
) -> None:
    """Compare every width with the exact ranking of the same examples.

    Args:
        audits: the audit of every model, at .../<dataset>/<backbone>/<objective>/seed-<n>.csv.
        output: CSV to write: dataset, backbone, objective, seed, beams (empty: exact), overlap,
            overlap_low, overlap_high, proven, metric, k, value (null for fewer than k beams, whose
            lists are shorter), difference (to exact), low, high and p of the difference (two-sided,
            not adjusted), examples, users. Intervals draw users, examples paired.
        resamples: bootstrap resamples.
        seed: seed of the bootstrap.
    """
    rows = []
    for path in audits:
        audit = read_csv(path)
        exact = audit[audit["beams"].isna()]
        name = dict(zip(["dataset", "backbone", "objective", "seed"], model_of(path), strict=True))
        for beams, found in audit.groupby("beams", dropna=False, sort=False):
            values = _accuracy(found) if pd.isna(beams) or beams >= K else np.nan * _accuracy(found)
            columns = [found["overlap"].to_numpy(float), *(values - _accuracy(exact)).T]
            users = codes(found["user"])
            overlap, *changes = estimates(
                np.column_stack(columns)[None], users, resamples, seed
            ).itertuples(index=False)
            for metric, value, change in zip(METRICS, values.mean(axis=0), changes, strict=True):
                rows.append(
                    name
                    | {"beams": beams, "overlap": overlap.value}
                    | {"overlap_low": overlap.low, "overlap_high": overlap.high}
                    | {"proven": found["proven"].mean(), "metric": metric, "k": K, "value": value}
                    | {"difference": change.value, "low": change.low, "high": change.high}
                    | {"p": np.nan if pd.isna(beams) else change.p}
                    | {"examples": len(found), "users": users.max() + 1}
                )
    frame = pd.DataFrame(rows)
    frame["beams"] = frame["beams"].astype("Int64")
    write_csv(frame, output)


def _accuracy(audit: pd.DataFrame) -> np.ndarray:
    """Float (n, m): `METRICS` at `K` of every example."""
    rank = audit["rank"].to_numpy(float)
    return np.column_stack([measure(rank, K) for measure in METRICS.values()])


if __name__ == "__main__":
    run(search_error)
