"""Medians, bars and extrapolation of the raw-data benchmark, from its measurements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

#: Reviews of the largest category and of all of Amazon 2018.
BOOKS, ALL = 51_300_000, 233_000_000
#: The bars: least speed-up and least saving of memory against the published algorithm, most
#: multiple of the bare inflate, most bytes a review.
FASTER, SMALLER, INFLATES, BYTES = 12, 12, 2.2, 50


def report(measurements: Sequence[Any]) -> None:
    """Print the tables of each `Measurement` of `tests.benchmarks.raw_data`."""
    rows = pd.DataFrame(measurements)
    columns = ["seconds", "cpu_seconds", "peak_mb"]
    groups = rows.groupby(["candidate", "reviews"], sort=False)
    medians, fastest = groups[columns].median(), groups[columns].min()
    table = medians.assign(fastest=fastest["seconds"], load=groups["load"].median()).round(2)
    print("\nMedians of the repeats, the fastest of them, and the load average before:\n")
    print(f"{table.to_string()}\n")
    for line in bars(medians, fastest) + extrapolation(medians):
        print(line)


def bars(medians: pd.DataFrame, fastest: pd.DataFrame) -> list[str]:
    """The ratios of the medians at every size, and whether they pass.

    Other work on the machine only ever adds time, so the ratios of the fastest runs stand beside.

    Args:
        medians: Indexed by candidate and number of reviews.
        fastest: Likewise.
    """
    lines = []
    for n in medians.loc["ours"].index:
        ratios = [("ours", "inflate (isal)", "seconds", "<=", INFLATES)]
        if ("published", n) in medians.index:
            ratios.append(("published", "ours", "seconds", ">=", FASTER))
            ratios.append(("published", "ours", "peak_mb", ">=", SMALLER))
        for above, below, what, sign, limit in ratios:
            values = [(of.loc[above, n] / of.loc[below, n])[what] for of in (medians, fastest)]
            passed = values[0] <= limit if sign == "<=" else values[0] >= limit
            lines.append(
                f"{n:>11,} reviews, {what:>7}: {above} / {below} {values[0]:.1f} (fastest runs "
                f"{values[1]:.1f}), bar {sign} {limit}: {'pass' if passed else 'FAIL'}"
            )
    memory = medians.loc["ours", "peak_mb"]
    growth = 1e6 * np.polyfit(memory.index.to_numpy(float), memory.to_numpy(), 1)[0]
    passed = "pass" if growth <= BYTES else "FAIL"
    lines.append(f"growth of memory: {growth:.1f} bytes a review, bar <= {BYTES}: {passed}")
    return lines


def extrapolation(medians: pd.DataFrame) -> list[str]:
    """Each candidate's largest size in proportion, which is above a line with a fixed cost."""
    lines = [
        "extrapolated in proportion to the largest measured size, as one file, if a review brings "
        "as many bytes, new ids and kept interactions as here:"
    ]
    for name in ("ours", "published"):
        if name in medians.index:
            n, largest = medians.loc[name].index.max(), medians.loc[name].iloc[-1]
            for label, size in (("Books", BOOKS), ("all of Amazon 2018", ALL)):
                minutes, memory = largest.seconds / 60 * size / n, largest.peak_mb / 1000 * size / n
                lines.append(
                    f"{name:<9} {label:<18} {size / 1e6:5.1f} M reviews: {minutes:6.1f} min, "
                    f"{memory:6.1f} GB (from {n:,} reviews)"
                )
    return lines
