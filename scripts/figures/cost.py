"""Figure of the cost of training and decoding."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

#: What is drawn, and its name: first the time of each phase, then what both have.
BOTH = {"relative": "time / plain", "peak_memory_mb": "peak memory (MB)"}
TRAINING = {"seconds_per_step": "seconds per step"} | BOTH
DECODING = {"seconds_per_prompt": "seconds per prompt"} | BOTH
#: Inches of a line, lines between two blocks, and lines from one objective to the next within one.
LINE, GAP, STEP = 0.15, 0.7, 0.5
#: Values that differ by more than this factor, as small and large backbones do, go on a log axis.
WIDE = 8

#: Lines of a block by the names of their block and of the line itself.
Blocks = dict[str, dict[str, pd.DataFrame]]


def cost(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw time and memory of training, by objective, and of decoding, by decoder."""
    data = style.some(values)
    looks = style.looks(data["objective"])
    pairs = data.groupby(["dataset", "backbone"], sort=False)
    training: Blocks = {}
    decoding: Blocks = {}
    for (dataset, backbone), runs in pairs:
        name = f"{labels.dataset(dataset)}\n{labels.block(backbone)}"
        trained = runs[runs["phase"] == "training"]
        objectives = [one for one in looks if (trained["objective"] == one).any()]
        training[name] = {one: trained[trained["objective"] == one] for one in objectives}
        # Without a history there is one prompt, which says nothing of the time of many.
        shown = runs[(runs["phase"] == "decoding") & (runs["history"] == "with")]
        for decoder, lists in shown.groupby("decoder", sort=False):
            decoding.setdefault(name, {})[labels.decoder(decoder)] = lists
    phases = [(blocks, names) for blocks, names in ((training, TRAINING), (decoding, DECODING))]
    phases = [(blocks, names) for blocks, names in phases if blocks]
    heights = [0.35 + LINE * lines(blocks, blocks is decoding) for blocks, _ in phases]
    figure, axes = style.panels(
        len(phases), 3, style.PAGE, sum(heights) / len(heights), sharey=True
    )
    axes[0, 0].get_gridspec().set_height_ratios(heights)
    for row, (blocks, measures) in zip(axes, phases, strict=True):
        draw(row, blocks, measures, looks, blocks is decoding)
    style.legend(figure, [style.handle(n, look) for n, look in looks.items()])
    return Drawing(figure, data)


def lines(blocks: Blocks, headed: bool) -> float:
    """Height of the blocks, in lines."""
    return sum(sum(map(room, block.values())) + 2 * headed + GAP for block in blocks.values())


def room(runs: pd.DataFrame) -> float:
    """Height of a line, which its objectives share, in lines."""
    return max(1.0, STEP * runs["objective"].nunique() + 0.4)


def draw(
    axes: Iterable[Axes],
    blocks: Blocks,
    measures: dict[str, str],
    looks: dict[str, tuple[str, str]],
    headed: bool,
) -> None:
    """Draw the measures of every line, a panel each; points are seeds. Where it is `headed`, every
    line is named, below the name of its block; else the block alone, beside it."""
    ticks: dict[float, str] = {}
    y = 0.0
    axes = list(axes)
    for name, block in blocks.items():
        if headed:
            ticks |= {y + i: part for i, part in enumerate(name.split("\n"))}
            y += 2
        else:
            ticks[y + (len(block) - 1) / 2] = name
        for line, runs in block.items():
            middle = y + (room(runs) - 1) / 2
            if headed:
                ticks[middle] = line
            for axis, measure in zip(axes, measures, strict=True):
                groups = list(runs.groupby("objective", sort=False))
                for i, (objective, seeds) in enumerate(groups):
                    colour, marker = looks[objective]
                    # Slightly apart: equal costs would hide each other.
                    at = np.full(len(seeds), middle + STEP * (i - (len(groups) - 1) / 2))
                    axis.plot(seeds[measure], at, marker, color=colour)
            y += room(runs)
        y += GAP
    axes[0].set_yticks(list(ticks), list(ticks.values()))
    axes[0].set_ylim(y - GAP - 0.3, -0.7)
    for axis, (measure, title) in zip(axes, measures.items(), strict=True):
        axis.set_xlabel(title)
        axis.grid(visible=False, axis="y")
        axis.tick_params(axis="y", length=0)
        axis.margins(x=0.1)
        shown = pd.concat([runs[measure] for block in blocks.values() for runs in block.values()])
        if shown.isna().all():  # Nothing is relative where there is no base.
            axis.set_axis_off()
            continue
        spread = shown.max() / shown.min()
        if spread > WIDE:
            axis.set_xscale("log")
            style.log_ticks(axis.xaxis, (1,) if spread > WIDE**2 else (1, 2, 5))
        else:
            axis.set_xlim(0, 1.1 * shown.max())
            axis.locator_params(axis="x", nbins=4)
