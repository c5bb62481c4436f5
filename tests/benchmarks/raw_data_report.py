"""Medians, bars, extrapolation and figure of the raw-data benchmark, from its measurements."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from scripts.command import run
from scripts.files import atomic, read_csv
from scripts.style import NEUTRAL, PAGE

#: Reviews of the largest category and of all of Amazon 2018.
BOOKS, ALL = 51_300_000, 233_000_000
#: The bars: least speed-up and least saving of memory against the published algorithm, most
#: multiple of the bare inflate, most bytes a review beyond the distinct ids.
FASTER, SMALLER, INFLATES, BYTES = 10, 12, 3, 30

LOOKS = {
    "published": ("#D55E00", "D"),
    "ours": ("#0072B2", "o"),
    "inflate (isal)": (NEUTRAL, "s"),
    "ids": ("#009E73", "^"),
}


def report(measurements: Path, figure: Path) -> None:
    """Print the tables and draw the growth.

    Args:
        measurements: CSV that `tests.benchmarks.raw_data` wrote.
        figure: PNG to write.
    """
    rows = read_csv(measurements)
    columns = ["seconds", "cpu_seconds", "peak_mb"]
    groups = rows.groupby(["candidate", "reviews"], sort=False)
    medians, fastest = groups[columns].median(), groups[columns].min()
    table = medians.assign(fastest=fastest["seconds"], load=groups["load"].median()).round(2)
    print("\nMedians of the repeats, the fastest of them, and the load average before:\n")
    print(f"{table.to_string()}\n")
    for line in bars(medians, fastest) + extrapolation(medians):
        print(line)
    draw(medians, figure)


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
    total, ids = (slope(medians.loc[name, "peak_mb"])[1] * 1e6 for name in ("ours", "ids"))
    lines.append(
        f"growth of memory: ours {total:.1f} bytes a review, distinct ids alone {ids:.1f}, the "
        f"rest {total - ids:.1f}, bar <= {BYTES}: {'pass' if total - ids <= BYTES else 'FAIL'}"
    )
    return lines


def slope(values: pd.Series) -> np.ndarray:
    """Intercept and slope of values over the number of reviews in their index."""
    return np.polynomial.polynomial.polyfit(values.index.to_numpy(float), values.to_numpy(), 1)


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


def draw(medians: pd.DataFrame, figure: Path) -> None:
    """Time and memory over the number of reviews, extrapolations dashed."""
    drawing, axes = plt.subplots(1, 2, figsize=(PAGE, 2.8), layout="constrained")
    panels = [
        ("seconds", "seconds", 1.0, ("published", "ours", "inflate (isal)")),
        ("peak_mb", "peak memory in GB", 1000.0, ("published", "ours", "ids")),
    ]
    for ax, (what, label, unit, names) in zip(axes, panels, strict=True):
        for name in [name for name in names if name in medians.index]:
            colour, marker = LOOKS[name]
            values = medians.loc[name, what] / unit
            ax.plot(values.index, values, marker=marker, color=colour, label=name)
            if name in ("ours", "published"):
                n = values.index[-1]
                points = np.array([n, BOOKS, ALL])
                ax.plot(points, values.iloc[-1] / n * points, ":", color=colour)
                ax.plot(
                    points[1:],
                    values.iloc[-1] / n * points[1:],
                    marker,
                    color=colour,
                    fillstyle="none",
                )
        ax.set(xscale="log", yscale="log", xlabel="reviews", ylabel=label)
        for label, n in (("Books", BOOKS), ("all", ALL)):
            ax.axvline(n, color=NEUTRAL, linewidth=0.5)
            ax.annotate(
                label,
                (n, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=7,
            )
    axes[0].plot([], [], ":", color=NEUTRAL, label="extrapolated")
    handles = {line.get_label(): line for ax in axes for line in ax.get_lines()}
    shown = [name for name in handles if not name.startswith("_")]
    drawing.legend([handles[name] for name in shown], shown, loc="outside lower center", ncols=5)
    with atomic(figure) as partial:
        drawing.savefig(partial, format="png", dpi=200)
    plt.close(drawing)


if __name__ == "__main__":
    run(report)
