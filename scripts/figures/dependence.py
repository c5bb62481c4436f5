"""Figure of how much each objective leans on the history."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

METRIC = "ndcg"
#: Histories from the top of a panel down: from the user's own to none.
ORDER = ["with", "shuffled", "wrong", "without"]


def dependence(values: pd.DataFrame, labels: Labels, k: int) -> Drawing:
    """Draw accuracy under every history, its change, and how much of the lists stays."""
    accuracy = (values["metric"] == METRIC) & (values["k"] == k)
    values = values[accuracy | (values["metric"] == "overlap")].dropna(subset="value")
    data = style.some(values)
    # Given lists have a name in place of an objective.
    data = data.assign(objective=data["objective"] + data["baseline"])
    looks = style.looks(data["objective"])
    blocks = data.groupby(["dataset", "backbone"], sort=False)
    lines = data.drop_duplicates(["dataset", "backbone", "decoder", "history"])
    most = lines.groupby(["dataset", "backbone"]).size().max()
    decoders = lines.groupby(["dataset", "backbone"])["decoder"].nunique().max()
    figure, axes = style.panels(len(blocks), 3, style.PAGE, 0.5 + 0.24 * (most + decoders))
    for row, ((dataset, backbone), here) in zip(axes, blocks, strict=True):
        here_looks = {name: looks[name] for name in looks if name in set(here["objective"])}
        step = 0.8 / len(here_looks)
        height, ticks = 0.0, []
        for decoder, group in here.groupby("decoder", sort=False):
            row[0].annotate(  # In a line of its own.
                labels.decoder(decoder) or "lists of other programs",
                (0, height),
                xycoords=("axes fraction", "data"),
                xytext=(3, 0),
                textcoords="offset points",
                va="center",
            )
            height += 1
            for history in [name for name in ORDER if name in set(group["history"])]:
                ticks.append((height, history))
                for i, (objective, look) in enumerate(here_looks.items()):
                    points = group[
                        (group["history"] == history) & (group["objective"] == objective)
                    ]
                    at = height + step * (i - (len(here_looks) - 1) / 2)
                    _mark(row, points.set_index("metric"), at, look)
                height += 1
            for axis in row:
                axis.axhline(height - 0.5, color=style.NEUTRAL, linewidth=0.5)
        names = [f"{METRIC.upper()}@{k}", f"change of {METRIC.upper()}@{k}", f"overlap@{k}"]
        for axis, name in zip(row, names, strict=True):
            axis.set_ylim(height - 0.5, -0.5)
            axis.set_yticks([tick for tick, _ in ticks], [name for _, name in ticks])
            axis.grid(visible=False, axis="y")
            axis.locator_params(axis="x", nbins=5)
            axis.set_xlabel(name)
        for axis in row[1:]:
            axis.set_yticklabels([])
        row[0].set_xlim(left=0)
        row[1].axvline(0, color=style.NEUTRAL, linewidth=0.8)
        row[2].set_xlim(0, 1.02)
        style.panel_name(row[0], f"{labels.dataset(dataset)}, {labels.block(backbone)}")
    # An objective is its own label.
    handles = [style.handle(labels.method(name, "", ""), look, "") for name, look in looks.items()]
    style.legend(figure, handles)
    return Drawing(figure, values)


def _mark(row: list, points: pd.DataFrame, height: float, look: tuple[str, str]) -> None:
    """One model and history in the three panels, as far as it is there."""
    columns = [
        (METRIC, "value", "low", "high"),
        (METRIC, "difference", "difference_low", "difference_high"),
        ("overlap", "value", "low", "high"),
    ]
    for axis, (metric, *names) in zip(row, columns, strict=True):
        if metric in points.index and pd.notna(points.loc[metric, names[0]]):
            options = {"markersize": 3.5, "elinewidth": 1, "clip_on": False}
            style.intervals(
                axis, [height], points.loc[[metric]], look, names, across=True, **options
            )
