"""Figure of the recommendations' spread over item popularity."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch

from scripts.cells import BASELINES
from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order, over_seeds

MEASURES = ["share", "history_share", "distance", "low", "high"]


def balance(input: Path, labels: Labels, output: Path, k: int = 10) -> None:
    """Draw the popularity groups' shares per recommender, and their distance to the histories'.

    Args:
        input: `balance.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
        k: depth of the lists.
    """
    values = read_csv(input)
    data = over_seeds(values[values["k"] == k], MEASURES, "distance")
    data = style.some(data, output).fillna({"decoder": ""})
    blocks = data[data["recommender"] != BASELINES][["dataset", "block"]].drop_duplicates()
    if blocks.empty:
        blocks = data[["dataset", "block"]].drop_duplicates()
    data = in_order(data.merge(blocks), ["dataset", "block", "recommender", "decoder"])
    keys = ["recommender", "objective", "decoder"]
    looks = style.looks(data.loc[data["recommender"] != BASELINES, "objective"])
    lines = data.groupby(["dataset", "block"], sort=False)[keys]
    most = max(len(frame.drop_duplicates()) for _, frame in lines) + 1
    figure, axes = style.panels(len(blocks), 2, style.PAGE, 0.5 + 0.155 * most, sharey=True)
    shades = sns.color_palette("viridis", data["group"].nunique())
    for row, (dataset, block) in zip(axes, blocks.itertuples(index=False), strict=True):
        here = data[(data["dataset"] == dataset) & (data["block"] == block)]
        names = ["users' histories"]
        _stack(row[0], 0, here.drop_duplicates("group")["history_share"], shades)
        for y, (key, cell) in enumerate(here.groupby(keys, sort=False), start=1):
            names.append(labels.recommender(*key))
            _stack(row[0], y, cell["share"], shades)
            first = cell.iloc[0]
            colour, marker = (style.NEUTRAL, "o") if key[0] == BASELINES else looks[key[1]]
            row[1].plot([first["low"], first["high"]], [y, y], color=colour)
            row[1].plot(first["distance"], y, marker, color=colour)
        row[0].set_yticks(range(len(names)), names)
        row[0].set_ylim(len(names) - 0.4, -0.6)
        row[0].set_xlim(0, 100)
        row[0].grid(visible=False)
        row[1].grid(visible=False, axis="y")
        row[1].tick_params(axis="y", length=0)
        row[1].set_xlim(left=0)
        row[0].set_xlabel(f"share of the top {k} (%)")
        row[1].set_xlabel("distance to the histories")
        style.panel_name(row[0], f"{labels.dataset(dataset)}, {labels.block(block)}")
    ends = {0: " (rarest)", len(shades) - 1: " (most popular)"}
    patches = [Patch(color=c, label=f"group {g}{ends.get(g, '')}") for g, c in enumerate(shades)]
    style.legend(figure, patches, across=5)
    style.save(figure, data, output)


def _stack(axis: style.Axes, y: int, shares: pd.Series, shades: list) -> None:
    """One stacked bar, in percent."""
    left = 0.0
    for share, shade in zip(shares, shades, strict=True):
        axis.barh(y, 100 * share, left=left, height=0.75, color=shade, linewidth=0)
        left += 100 * share


if __name__ == "__main__":
    run(balance)
