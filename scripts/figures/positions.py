"""Figure of the target's log-probability, token by token, with the history and without it."""

from __future__ import annotations

import pandas as pd
from matplotlib.axis import Axis
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import FixedLocator, NullLocator, StrMethodFormatter

from scripts import style
from scripts.labels import Labels
from scripts.style import Axes, Drawing

#: Labelled log-probabilities: even steps up to 10 nats, logarithmic beyond.
LOGS = [0, *(-tick for tick in (2, 5, 10, 20, 50, 100, 200, 500))]
#: Labelled effects and differences: even up to 1 nat, logarithmic beyond.
EFFECTS = [0, *(sign * tick for tick in (0.5, 2, 10, 50, 200) for sign in (-1, 1))]
DIFFERENCES = [0, *(sign * tick for tick in (1, 30) for sign in (-1, 1))]

#: The panels over the positions: what they draw, and their name.
PANELS = {
    "with_history": "log p with history",
    "without_history": "log p without",
    "effect": "with less without",
}
BRANCHES = ["with_history", "without_history"]


def positions(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw both branches and their gap over the token position, and how far each branch of the
    whole target is from plain, per objective."""
    data = values.astype({"position": str})
    data = style.some(data[~data["position"].isin(["halves", "titles"])])
    looks = style.looks(data["objective"])
    order = sorted((p for p in data["position"].unique() if p.isdigit()), key=int)
    order += [p for p in data["position"].unique() if p.endswith("+")]
    places = {position: i for i, position in enumerate(order)} | {"eos": len(order) + 3}
    blocks = list(data.groupby(["dataset", "backbone"], sort=False))
    figure, axes = style.grouped(len(blocks), len(PANELS) + 1, 1.5)
    for row, ((dataset, backbone), here) in zip(axes, blocks, strict=True):
        row[1].sharey(row[0])
        # Not every backbone is trained with every objective.
        own = {name: look for name, look in looks.items() if name in set(here["objective"])}
        for axis, (measure, name) in zip(row, PANELS.items(), strict=False):
            axis.axhline(0, color=style.NEUTRAL, linewidth=0.8)
            points = here[here["measure"] == measure].assign(place=here["position"].map(places))
            points = points.dropna(subset="place").sort_values("place")
            for objective, look in own.items():
                _line(axis, points[points["objective"] == objective], look)
            shown = {p: "" if i % 4 and p != "eos" else p for i, p in enumerate(places)}
            axis.set_xticks(list(places.values()), list(shown.values()))
            axis.set_xlabel("token of the target")
            block = [labels.dataset(dataset), labels.block(backbone)] if axis is row[0] else []
            style.panel_name(axis, *block, name)
        _scale(row[0].yaxis, 10, LOGS)
        _scale(row[2].yaxis, 1, EFFECTS)
        row[0].set_ylim(top=0.5)
        row[0].set_ylabel("nats")
        row[2].set_ylabel("nats")
        _differences(row[3], here[here["base"] != ""], own)
    style.legend(figure, [style.handle(n, look) for n, look in looks.items()], across=5)
    return Drawing(figure, data)


def _scale(axis: Axis, threshold: float, ticks: list[float]) -> None:
    """Make an axis logarithmic beyond a threshold, with these labels, if what is drawn gets there:
    objectives with the causal term would flatten the others on a linear scale."""
    name = axis.axis_name
    if max(abs(axis.get_view_interval())) <= threshold:
        axis.axes.locator_params(axis=name, nbins=4 if name == "y" else 2)
        return
    axis.axes.set(**{f"{name}scale": SymmetricalLogScale(axis, linthresh=threshold)})
    axis.axes.autoscale(axis=name)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def _line(axis: Axes, points: pd.DataFrame, look: tuple[str, str]) -> None:
    """An objective's tokens with their intervals, the last one apart."""
    colour, marker = look
    eos = points["position"] == "eos"
    words, last = points[~eos], points[eos]
    axis.plot(words["place"], words["value"], marker, ls="-", lw=0.9, color=colour, ms=2.5)
    axis.fill_between(
        words["place"], words["low"], words["high"], color=colour, alpha=0.2, linewidth=0
    )
    style.intervals(axis, last["place"], last, look, ms=2.5)


def _differences(axis: Axes, points: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    """What each objective adds to the whole target's log-probability, branch by branch."""
    if points.empty:
        axis.axis("off")
        return
    others = [name for name in looks if name in set(points["objective"])]
    for i, objective in enumerate(others):
        own = points[points["objective"] == objective].set_index("measure").loc[BRANCHES]
        heights = [height + 0.8 * ((i + 0.5) / len(others) - 0.5) for height in range(2)]
        style.intervals(axis, heights, own, looks[objective], across=True, ms=2.5)
    axis.axvline(0, color=style.NEUTRAL, linewidth=0.8)
    axis.margins(x=0.1)
    _scale(axis.xaxis, 1, DIFFERENCES)
    axis.set_ylim(1.5, -0.5)
    axis.set_yticks([0, 1], ["with", "without"])
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("nats")
    style.panel_name(axis, "target, less plain")
