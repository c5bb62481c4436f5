"""Figure of the recommendations' spread over item popularity."""

from __future__ import annotations

from pathlib import Path

import seaborn as sns
from matplotlib.patches import Patch

from scripts.cells import BASELINES
from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import OWN_HISTORIES, in_order

DISTANCE = "total_variation"


def balance(input: Path, labels: Labels, output: Path, k: int = 10) -> None:
    """Draw the popularity groups' shares per recommender, their distance to the histories' and
    what each objective changes of it.

    Args:
        input: `balance.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
        k: depth of the lists.
    """
    values = read_csv(input).fillna({"objective": "", "decoder": ""})
    data = values[values["measure"].isin(["share", DISTANCE])]
    data = data[(data["k"] == k) | (data["recommender"] == OWN_HISTORIES)]
    llms = data[~data["recommender"].isin([BASELINES, OWN_HISTORIES])]
    blocks = (llms if len(llms) else data)[["dataset", "block"]].drop_duplicates()
    data = style.some(
        in_order(data.merge(blocks), ["dataset", "block", "recommender", "decoder"]), output
    )
    keys = ["recommender", "objective", "decoder"]
    looks = style.looks(data.loc[data["objective"] != "", "objective"])
    lines = data.groupby(["dataset", "block"], sort=False)[keys]
    most = max(len(frame.drop_duplicates()) for _, frame in lines)
    figure, axes = style.panels(len(blocks), 3, style.PAGE, 0.5 + 0.155 * most, sharey=True)
    shades = sns.color_palette("viridis", data["group"].nunique())
    bases = ", ".join(data["base"].dropna().unique())
    for row, (dataset, block) in zip(axes, blocks.itertuples(index=False), strict=True):
        here = data[(data["dataset"] == dataset) & (data["block"] == block)]
        # First, as its own limits would be rounded into those of points that all lie at 0.
        row[2].axvline(0, color=style.NEUTRAL, linewidth=0.8)
        names = []
        for y, (key, cell) in enumerate(here.groupby(keys, sort=False)):
            names.append(labels.recommender(*key))
            left = 0.0
            for share, shade in zip(
                cell.loc[cell["measure"] == "share", "value"], shades, strict=True
            ):
                row[0].barh(y, 100 * share, left=left, height=0.75, color=shade, linewidth=0)
                left += 100 * share
            for distance in cell[cell["measure"] == DISTANCE].to_dict("records"):
                colour, marker = looks[key[1]]
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
    style.save(figure, data, output)


if __name__ == "__main__":
    run(balance)
