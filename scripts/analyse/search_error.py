"""How far lists of beam search are from the exact ranking, and what that does to the accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.cells import model_of
from scripts.command import InputError
from scripts.evaluate.blocks import codes
from scripts.evaluate.bootstrap import DRAWS, Draws, holm
from scripts.evaluate.measure import estimates
from scripts.files import read_csv
from scripts.metrics import gains, hits

METRICS = {"hr": hits, "ndcg": gains}
K = 10


def search_error(audits: list[Path], draws: Draws = DRAWS) -> pd.DataFrame:
    """Compare every width with the exact ranking of the same examples.

    Args:
        audits: the audit of every model, at .../<dataset>/<backbone>/<objective>/seed-<n>.csv.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, objective, beams (empty: exact), overlap, overlap_low, overlap_high,
        proven, metric, k, value (null for fewer than k beams, whose lists are shorter), difference
        (to exact), low, high and p of the difference (two-sided), seeds, examples, users, p_holm (p
        adjusted over all rows). Intervals draw users and, crossed with them, seeds.

    Raises:
        InputError: two seeds of a model were audited on different examples or widths.
    """
    models: dict[tuple[str, ...], list[Path]] = {}
    for path in audits:
        models.setdefault(model_of(path)[:3], []).append(path)
    rows = []
    for model, paths in models.items():
        frames = [read_csv(path) for path in paths]
        same = ["example_id", "user", "beams"]
        for path, frame in zip(paths, frames, strict=True):
            if not frame[same].equals(frames[0][same]):
                raise InputError(f"{path}: other examples or widths than {paths[0]}; rerun both")
        name = dict(zip(["dataset", "backbone", "objective"], model, strict=True))
        exact = np.stack([_accuracy(frame[frame["beams"].isna()]) for frame in frames])
        for beams in frames[0]["beams"].unique():
            rows_of = frames[0]["beams"].isna() if pd.isna(beams) else frames[0]["beams"] == beams
            searched = [frame[rows_of] for frame in frames]
            values = np.stack([_accuracy(one) for one in searched])
            if beams < K:
                values = np.full_like(values, np.nan)
            overlaps = np.stack([one["overlap"].to_numpy(float) for one in searched])
            users = codes(searched[0]["user"])
            overlap, *changes = estimates(
                np.concatenate([overlaps[:, :, None], values - exact], axis=2), users, draws
            ).itertuples(index=False)
            proven = np.mean([one["proven"].mean() for one in searched])
            means = values.mean(axis=(0, 1))
            for metric, value, change in zip(METRICS, means, changes, strict=True):
                rows.append(
                    name
                    | {"beams": beams, "overlap": overlap.value}
                    | {"overlap_low": overlap.low, "overlap_high": overlap.high}
                    | {"proven": proven, "metric": metric, "k": K, "value": value}
                    | {"difference": change.value, "low": change.low, "high": change.high}
                    | {"p": np.nan if pd.isna(beams) else change.p}
                    | {"seeds": len(searched), "examples": len(users), "users": users.max() + 1}
                )
    frame = pd.DataFrame(rows)
    frame["beams"] = frame["beams"].astype("Int64")
    bounds = ["overlap_low", "overlap_high"]
    frame[bounds] = frame[bounds].clip(0, 1)
    return frame.assign(p_holm=holm(frame["p"].to_numpy(float)))


def _accuracy(audit: pd.DataFrame) -> np.ndarray:
    """Float (n, m): `METRICS` at `K` of every example."""
    rank = audit["rank"].to_numpy(float)
    return np.column_stack([measure(rank, K) for measure in METRICS.values()])
