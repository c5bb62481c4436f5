"""How far lists of beam search are from the exact ranking, and what that does to the accuracy."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import cluster_bootstrap, interval
from scripts.cells import model_of
from scripts.command import run
from scripts.evaluate.ranking import gains, hits
from scripts.files import read_csv, write_csv

METRICS = {"hr": hits, "ndcg": gains}
K = 10


def search_error(audits: list[Path], output: Path, resamples: int = 2000) -> None:
    """Compare every width with the exact ranking of the same examples.

    Args:
        audits: the audit of every model, at .../<dataset>/<backbone>/<objective>/seed-<n>.csv.
        output: CSV to write: dataset, backbone, objective, seed, beams (empty: exact), overlap,
            proven, metric, k, value, difference (to exact), low, high, examples, users. Intervals
            resample users, examples paired.
        resamples: bootstrap resamples.
    """
    rows = []
    for path in audits:
        dataset, backbone, objective, seed = model_of(path)
        audit = read_csv(path)
        exact = audit[audit["beams"].isna()]
        for beams, found in audit.groupby("beams", dropna=False, sort=False):
            for name, measure in METRICS.items():
                value = measure(found["rank"].to_numpy(float), K)
                change = value - measure(exact["rank"].to_numpy(float), K)
                means = cluster_bootstrap(change[:, None], found["user"].to_numpy(), resamples)
                low, high = interval(means[:, 0])
                rows.append(
                    {
                        "dataset": dataset,
                        "backbone": backbone,
                        "objective": objective,
                        "seed": seed,
                        "beams": beams,
                        "overlap": found["overlap"].mean(),
                        "proven": found["proven"].mean(),
                        "metric": name,
                        "k": K,
                        "value": value.mean(),
                        "difference": change.mean(),
                        "low": low,
                        "high": high,
                        "examples": len(found),
                        "users": found["user"].nunique(),
                    }
                )
    frame = pd.DataFrame(rows)
    frame["beams"] = frame["beams"].astype("Int64")
    write_csv(frame, output)


if __name__ == "__main__":
    run(search_error)
