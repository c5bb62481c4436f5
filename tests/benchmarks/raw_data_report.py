"""Medians, bars and extrapolation of the raw-data benchmark, from its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from tests.benchmarks.measure import bar

#: Reviews of the largest category and of all of Amazon 2018.
SIZES = {"Books": 51_300_000, "all of Amazon 2018": 233_000_000}


def report(measurements: Sequence[Any]) -> None:
    """Print the tables of each `Measurement` of `tests.benchmarks.raw_data`, ratios of medians
    beside their bars, and each candidate's largest size in proportion, which is above a line with a
    fixed cost."""
    groups = pd.DataFrame(measurements).groupby(["candidate", "reviews"], sort=False)
    medians = groups[["seconds", "cpu_seconds", "peak_mb", "load"]].median()
    table = medians.assign(fastest=groups["seconds"].min()).round(2)
    print(f"\nMedians of the repeats, and the fastest of them:\n\n{table.to_string()}\n")
    memory = medians.loc["ours", "peak_mb"]
    for n in memory.index:
        at = medians.xs(n, level="reviews")
        inflates = at.loc["ours", "seconds"] / at.loc["inflate (isal)", "seconds"]
        print(f"{n:>11,} reviews, time: ours / inflate {inflates:.1f} x (bar: at most 2.2 x)")
        if "published" in at.index:
            ratios = at.loc["published"] / at.loc["ours"]
            print(f"  published / ours: time {bar(ratios['seconds'], 12)}")
            print(f"  published / ours: memory {bar(ratios['peak_mb'], 12)}")
    growth = 1e6 * np.polyfit(memory.index.to_numpy(float), memory.to_numpy(), 1)[0]
    print(f"growth of memory: {growth:.1f} bytes a review (bar: at most 50)")
    print(
        "extrapolated in proportion to the largest measured size, as one file, if a review brings"
    )
    print("as many bytes, new ids and kept interactions as here:")
    for name in medians.index.unique("candidate").intersection(["ours", "published"]):
        n, largest = medians.loc[name].index.max(), medians.loc[name].iloc[-1]
        for label, size in SIZES.items():
            minutes, gigabytes = (largest[["seconds", "peak_mb"]] * size / n) / [60, 1000]
            print(f"{name:<9} {label:<18} {minutes:6.1f} min, {gigabytes:6.1f} GB (from {n:,})")
