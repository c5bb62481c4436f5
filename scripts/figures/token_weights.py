"""Figure of the token weights by position, per kind."""

from __future__ import annotations

import pandas as pd

from scripts import style
from scripts.labels import Labels
from scripts.style import Drawing

#: Positions that fewer of the answers than this share reach are left out.
REACHED = 0.01


def token_weights(values: pd.DataFrame, labels: Labels) -> Drawing:
    """Draw weight over token position: thin lines are seeds, thick ones their mean."""
    data = style.some(values.sort_values("alpha", kind="stable"))
    runs = ["dataset", "backbone", "objective", "seed"]
    data = data[data["tokens"] >= REACHED * data.groupby(runs)["tokens"].transform("first")]
    looks = style.looks(data["objective"])
    blocks = list(data.groupby(["dataset", "backbone", "alpha"], sort=False))
    figure, axes = style.wrapped(len(blocks), style.PAGE, 1.8, across=3)
    columns = min(3, len(blocks))
    for i, (axis, (block, here)) in enumerate(zip(axes, blocks, strict=True)):
        for objective, rows in here.groupby("objective", sort=False):
            colour, marker = looks[objective]
            for _, seed in rows.groupby("seed"):
                axis.plot(seed["position"], seed["weight"], color=colour, lw=0.5, alpha=0.6)
            mean = rows.groupby("position")["weight"].mean()
            axis.plot(mean.index, mean, marker, ls="-", color=colour, ms=3)
        axis.set_ylim(bottom=0)
        axis.locator_params(axis="x", integer=True, nbins=6)
        axis.set_xlabel("token of the target")
        axis.set_ylabel("weight / mean weight" if i % columns == 0 else "")
        dataset, backbone, alpha = block
        style.panel_name(axis, labels.dataset(dataset), labels.block(backbone), f"α = {alpha:g}")
    handles = [style.handle(name, look) for name, look in looks.items()]
    style.legend(figure, handles, across=6)
    return Drawing(figure, data)
