"""The look of all figures, and how they are saved."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import matplotlib as mpl

mpl.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from scripts.command import InputError
from scripts.files import atomic, write_csv

# Embedding fonts logs a page of lines per PDF.
logging.getLogger("fontTools").setLevel(logging.WARNING)

#: Widths of a text column and of a page's two, in inches.
COLUMN, PAGE = 3.4, 7.0

#: Colour (Okabe and Ito's palette, safe for the colour-blind) and marker of the named objectives.
OBJECTIVES = {
    "plain": ("#0072B2", "o"),
    "weighted": ("#E69F00", "s"),
    "causal": ("#009E73", "^"),
    "cft": ("#D55E00", "D"),
}

#: Looks of objectives with other names, in the order of their appearance.
OTHERS = [("#CC79A7", "v"), ("#56B4E9", "P"), ("#8C6D31", "X"), ("#6A3D9A", "<")]

#: Baselines and reference lines.
NEUTRAL = "#666666"

sns.set_theme(
    context="paper",
    style="ticks",
    rc={
        "font.size": 8,
        "axes.titlesize": 8,
        "axes.labelsize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7.5,
        "legend.frameon": False,
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
        "grid.color": "#e6e6e6",
        "grid.linewidth": 0.5,
        "pdf.fonttype": 42,
        "svg.hashsalt": "figure",
    },
)


def looks(objectives: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each objective: the named ones first, then as given."""
    known = dict.fromkeys(objectives)
    names = [name for name in OBJECTIVES if name in known]
    names += [name for name in known if name not in OBJECTIVES]
    others = [name for name in names if name not in OBJECTIVES]
    extra = {name: OTHERS[i % len(OTHERS)] for i, name in enumerate(others)}
    return {name: OBJECTIVES.get(name) or extra[name] for name in names}


def panels(
    rows: int, columns: int, width: float, height: float, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, np.ndarray]:
    """A grid of panels.

    Args:
        rows: number of rows.
        columns: number of columns.
        width: of the figure, in inches.
        height: of one row, in inches.
        sharex: whether the panels of a column share the x axis.
        sharey: whether the panels of a row share the y axis.

    Returns:
        the figure and its axes, object (rows, columns).
    """
    return plt.subplots(
        rows,
        columns,
        figsize=(width, height * rows + 0.45),
        sharex="col" if sharex else False,
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


def bars(low: pd.Series, value: pd.Series, high: pd.Series) -> np.ndarray:
    """Interval bounds as the lengths that `errorbar` wants, float (2, n).

    A percentile interval need not hold the value; a length is never negative.
    """
    return np.clip(np.stack([value - low, high - value]), 0, None)


def some(frame: pd.DataFrame, output: Path) -> pd.DataFrame:
    """The frame itself.

    Raises:
        InputError: it is empty.
    """
    if frame.empty:
        raise InputError(f"{output}: nothing to draw; is the input of this figure empty?")
    return frame


def save(figure: Figure, data: pd.DataFrame, output: Path) -> None:
    """Save a figure as .pdf, .svg, .png (200 dpi) and what it draws as .csv, without any date."""
    metadata = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    for kind, entries in metadata.items():
        with atomic(output.with_suffix(f".{kind}")) as partial:
            figure.savefig(partial, format=kind, dpi=200, metadata=entries)
    plt.close(figure)
    write_csv(data, output.with_suffix(".csv"))
