"""The look of all figures, and how they are saved."""

from __future__ import annotations

import logging
import math
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from scripts.command import InputError
from scripts.files import atomic, write_csv

# Embedding fonts logs a page of lines per PDF.
logging.getLogger("fontTools").setLevel(logging.WARNING)

#: Widths of a text column and of a page's two, in inches; figures are printed as they are.
COLUMN, PAGE = 3.3, 6.9

#: Size of every text at that width, in points.
TEXT = 8

#: Colour and marker of the known objectives and baselines, the same in every figure. Hues of Okabe
#: and Ito's palette, safe for the colour-blind, as far as they reach; markers tell all apart in
#: black and white.
OBJECTIVES = {
    "plain": ("#0072B2", "o"),
    "weighted": ("#E69F00", "s"),
    "causal": ("#009E73", "^"),
    "cft": ("#D55E00", "D"),
    "cft-learned": ("#CC79A7", "X"),
}
BASELINES = {
    "most-popular": ("#A6A6A6", "h"),
    "transitions": ("#5C5C5C", ">"),
    "gru4rec": ("#8C6D31", "P"),
    "caser": ("#5E2B97", "<"),
    "sasrec": ("#56B4E9", "v"),
}

#: Looks of any other name follow from the name alone, so that it has them in every figure.
COLOURS = ["#332288", "#882255", "#44AA99", "#999933", "#AA4499"]
MARKERS = ["p", "d", "8", "*"]

#: Reference lines, and markers that stand for any objective.
NEUTRAL = "#666666"

sns.set_theme(
    context="paper",
    style="ticks",
    # It comes with matplotlib, so that a figure is laid out alike on every machine.
    font="DejaVu Sans",
    rc={
        **dict.fromkeys(
            [
                *("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize"),
                *("xtick.labelsize", "ytick.labelsize", "legend.fontsize", "legend.title_fontsize"),
            ],
            TEXT,
        ),
        "legend.frameon": False,
        "legend.columnspacing": 1.4,
        "legend.handlelength": 1.7,
        "legend.handletextpad": 0.5,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 4,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.5,
        # Text stays text: a dollar is no formula; what is printed is searchable, and set in the
        # font that the PDF embeds.
        "text.parse_math": False,
        "pdf.fonttype": 42,
        "svg.fonttype": "none",
        "svg.hashsalt": "figure",
    },
)


class Drawing(NamedTuple):
    """A figure, and the data that it draws."""

    figure: Figure
    data: pd.DataFrame


def looks(names: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each objective or baseline, empty names left out: the known ones first,
    then as given.

    Two unknown names may share a colour, seldom colour and marker; the later one then takes the
    next free look.
    """
    given = dict.fromkeys(name for name in names if name)
    known = OBJECTIVES | BASELINES
    found = {name: look for name, look in known.items() if name in given}
    choices = [(colour, marker) for marker in MARKERS for colour in COLOURS]
    for name in given:
        if name not in known:
            first = zlib.crc32(name.encode()) % len(choices)
            free = (look for look in choices[first:] + choices if look not in found.values())
            found[name] = next(free, choices[first])
    return found


def panels(
    rows: int, columns: int, width: float, height: float, sharey: bool = False
) -> tuple[Figure, np.ndarray]:
    """A grid of panels: a figure, `width` inches wide, with rows of `height` inches, and its axes,
    object (rows, columns). The panels of a row may share their y axis."""
    return plt.subplots(
        rows,
        columns,
        figsize=(width, height * rows + 0.45),
        sharey="row" if sharey else False,
        squeeze=False,
        layout="constrained",
    )


def wrapped(count: int, width: float, height: float, across: int) -> tuple[Figure, list[Axes]]:
    """Panels of one kind, filled row by row, at most `across` in a row; the rest stays empty."""
    columns = min(across, count)
    rows = math.ceil(count / columns)
    # A lone panel as wide as the page would be out of proportion.
    figure, axes = panels(rows, columns, COLUMN if columns == 1 else width, height)
    for axis in axes.flat[count:]:
        axis.axis("off")
    return figure, list(axes.flat[:count])


def grouped(count: int, each: int, height: float) -> tuple[Figure, np.ndarray]:
    """Panels of groups of `each` (2 or 4) that belong together: one group is as wide as a column,
    two panels in a row; several are as wide as a page, four in a row. The axes are object
    (count, each)."""
    width, across = (COLUMN, 2) if count == 1 else (PAGE, 4)
    figure, axes = wrapped(count * each, width, height, across)
    return figure, np.reshape(axes, (count, each))


def handle(label: str, look: tuple[str, str], line: Literal["-", "--", ":", ""] = "-") -> Line2D:
    """An entry of a legend."""
    colour, marker = look
    return Line2D([], [], color=colour, marker=marker, linestyle=line, label=label)


def legend(figure: Figure, handles: Sequence[Artist], across: int = 4) -> None:
    """One legend for all panels, above them."""
    if figure.get_figwidth() < PAGE:
        across = min(across, 2)
    figure.legend(
        handles=list(handles), loc="outside upper center", ncols=min(across, len(handles))
    )


def panel_name(axis: Axes, *parts: str) -> None:
    """Name what a panel shows, above it."""
    axis.set_title("\n".join(part for part in parts if part), loc="left", linespacing=1.1, pad=4)


def log_ticks(axis: Axis, multiples: Sequence[int] = (1, 2, 5)) -> None:
    """Label these multiples of the powers of ten on a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=multiples))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def of_models(data: pd.DataFrame) -> pd.DataFrame:
    """Rows of an analysis without the block of the baselines alone, where there are models."""
    models = data[data["objective"] != ""]
    return data.merge((data if models.empty else models)[["dataset", "block"]].drop_duplicates())


def intervals(
    axis: Axes,
    place: Any,
    points: pd.DataFrame,
    look: tuple[str, str],
    names: Sequence[str] = ("value", "low", "high"),
    line: str = "",
    across: bool = False,
    **options: Any,
) -> None:
    """Points with their intervals at their places, (n,), on the other axis; `across` puts values on
    the x axis. A percentile interval need not hold the value; a length is never negative."""
    value, low, high = (points[name] for name in names)
    lengths = np.clip(np.stack([value - low, high - value]), 0, None)
    colour, marker = look
    where, error = ((value, place), "xerr") if across else ((place, value), "yerr")
    axis.errorbar(*where, **{error: lengths}, fmt=f"{marker}{line}", color=colour, **options)


def some(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame itself.

    Raises:
        InputError: it is empty.
    """
    if frame.empty:
        raise InputError("Nothing to draw; is the input of this figure empty?")
    return frame


def save(drawing: Drawing, output: Path) -> None:
    """Save a figure as .pdf, .svg, .png (200 dpi) and what it draws as .csv, without any date."""
    figure, data = drawing
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    for kind, entries in metadata.items():
        with atomic(output.with_suffix(f".{kind}")) as partial:
            figure.savefig(partial, format=kind, dpi=200, metadata=entries)
    plt.close(figure)
    write_csv(data, output.with_suffix(".csv"))
