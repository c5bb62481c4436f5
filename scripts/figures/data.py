"""Figure of the data sets: popularity, history length, interactions over time."""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axis import Axis
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

#: Lines of the data sets, with `style.COLOURS`: two neighbours differ in both.
LINES = ["-", "--", "-.", ":"]

#: Shades behind the months of the later splits.
SHADES = {"valid": "#dddddd", "test": "#bbbbbb"}


def data(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw the popularity curves and histories of all data sets, and the months of each."""
    frame = style.some(values)
    datasets = list(frame["dataset"].unique())
    looks = {
        name: {"color": style.COLOURS[i % len(style.COLOURS)], "linestyle": LINES[i % len(LINES)]}
        for i, name in enumerate(datasets)
    }
    curves = {key: rows.set_index("x")["y"] for key, rows in frame.groupby(["dataset", "curve"])}
    across = 2 if len(datasets) == 4 else min(3, len(datasets))
    months = [datasets[i : i + across] for i in range(0, len(datasets), across)]
    figure, axes = plt.subplot_mosaic(
        # A data set's name begins with a letter or digit.
        [[" popularity"] * across + [" history"] * across]
        + [[n for n in row for _ in range(2)] + ["."] * 2 * (across - len(row)) for row in months],
        figsize=(style.PAGE, 2.1 + 1.3 * len(months) + 0.45),
        height_ratios=[2.1, *[1.3] * len(months)],
        layout="constrained",
    )
    for name, look in looks.items():
        for curve in ("popularity", "history"):
            values = curves[name, curve]
            axes[f" {curve}"].plot(values.index.astype(int), values, **look)
        if (name, "cut") in curves:
            length = curves[name, "cut"].index[0]
            axes[" history"].plot(
                int(length), curves[name, "history"][length], "o", color=look["color"]
            )
        _months(axes[name], {key: curves[name, key] for key in ("month", *SHADES)}, look["color"])
        style.panel_name(axes[name], labels.dataset(name))
        axes[name].set_ylabel("interactions (%)" if name in {row[0] for row in months} else None)
    _name(axes[" popularity"], "items by popularity (rank)", "interactions per item")
    axes[" popularity"].set_yscale("log")
    _counts(axes[" popularity"].yaxis)
    _name(axes[" history"], "x = earlier interactions of the user", "examples with at least x")
    axes[" history"].yaxis.set_major_formatter(PercentFormatter(1))
    axes[" history"].set_ylim(bottom=0)
    handles = [Line2D([], [], label=labels.dataset(name), **look) for name, look in looks.items()]
    marks = [Patch(color=shade, label=f"{split} targets") for split, shade in SHADES.items()]
    if (frame["curve"] == "cut").any():
        marks.insert(0, style.handle("longest history kept", (style.NEUTRAL, "o"), ""))
    style.legend(figure, [*handles, *marks], across=5)
    return Drawing(figure, frame)


def _name(axis: style.Axes, x: str, y: str) -> None:
    axis.set_xscale("log")
    _counts(axis.xaxis)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def _counts(axis: Axis) -> None:
    """Ticks of a logarithmic axis as counts in full, not as powers in small type."""
    axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    axis.set_minor_formatter(NullFormatter())


def _months(axis: style.Axes, curves: dict[str, pd.Series], colour: tuple) -> None:
    """The share of every month, before the shades of the splits."""
    shares = curves["month"]
    starts = pd.to_datetime(pd.Index(shares.index, dtype=str))
    end = starts[-1] + pd.offsets.MonthBegin()
    edges = [*starts, end]
    valid, test = (pd.Timestamp(curves[split].index[0]) for split in ("valid", "test"))
    axis.axvspan(valid, test, color=SHADES["valid"], linewidth=0)
    axis.axvspan(test, end, color=SHADES["test"], linewidth=0)
    axis.stairs(100 * shares, edges, color=colour, linewidth=1)
    axis.grid(visible=False, axis="x")
    axis.set_ylim(bottom=0)
    axis.set_xlim(edges[0], end)
    locator = AutoDateLocator(minticks=2, maxticks=5)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator))
