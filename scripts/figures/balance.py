"""Figure of the recommendations' spread over item popularity."""

from __future__ import annotations

import pandas as pd
import seaborn as sns
from matplotlib.patches import Patch

from scripts import style
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.style import Drawing

DISTANCE = "total_variation"


def balance(values: pd.DataFrame, labels: Labels, k: int) -> Drawing:
    """Draw the popularity groups' shares per recommender, their distance to the histories' and
    what each objective changes of it.
    """
    data = values[values["measure"].isin(["share", DISTANCE])]
    # The histories have no K.
    data = data[(data["k"] == k) | data["k"].isna()]
    data = style.some(in_order(style.of_models(data), ["dataset", "block", "decoder"]))
    keys = ["baseline", "objective", "decoder"]
    looks = style.looks([*data["objective"], *data["baseline"]])
    blocks = data.groupby(["dataset", "block"], sort=False)
    most = max(len(here[keys].drop_duplicates()) for _, here in blocks)
    figure, axes = style.panels(len(blocks), 3, style.PAGE, 0.5 + 0.155 * most, sharey=True)
    shades = sns.color_palette("viridis", data["group"].nunique())
    bases = ", ".join(base for base in data["base"].unique() if base)
    for row, ((dataset, block), here) in zip(axes, blocks, strict=True):
        # First, as its own limits would be rounded into those of points that all lie at 0.
        row[2].axvline(0, color=style.NEUTRAL, linewidth=0.8)
        names = []
        for y, (key, cell) in enumerate(here.groupby(keys, sort=False)):
            names.append(labels.method(*key))
            left = 0.0
            for share, shade in zip(
                cell.loc[cell["measure"] == "share", "value"], shades, strict=True
            ):
                row[0].barh(y, 100 * share, left=left, height=0.75, color=shade, linewidth=0)
                left += 100 * share
            for distance in cell[cell["measure"] == DISTANCE].to_dict("records"):
                colour, marker = looks[key[0] or key[1]]
                for axis, names_of in (
                    (row[1], ("value", "low", "high")),
                    (row[2], ("difference", "difference_low", "difference_high")),
                ):
                    value, low, high = (distance[name] for name in names_of)
                    axis.plot([low, high], [y, y], color=colour)
                    axis.plot(value, y, marker, color=colour)
        row[0].set_yticks(range(len(names)), names)
        row[0].set_ylim(len(names) - 0.4, -0.6)
        row[0].set_xlim(0, 100)
        row[0].grid(visible=False)
        row[1].set_xlim(left=0)
        for axis in row[1:]:
            axis.grid(visible=False, axis="y")
            axis.tick_params(axis="y", length=0)
            axis.locator_params(axis="x", nbins=4)
        row[0].set_xlabel(f"share of the top {k} (%)")
        row[1].set_xlabel("distance to the histories")
        row[2].set_xlabel(f"distance − that of {bases}" if bases else "difference")
        style.panel_name(row[0], f"{labels.dataset(dataset)}, {labels.block(block)}")
    ends = {0: " (rarest)", len(shades) - 1: " (most popular)"}
    patches = [Patch(color=c, label=f"group {g}{ends.get(g, '')}") for g, c in enumerate(shades)]
    style.legend(figure, patches, across=5)
    return Drawing(figure, data)
