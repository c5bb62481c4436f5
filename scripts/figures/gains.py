"""Figure of what each objective gains over its base."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels

METRICS = ("hr", "ndcg")


def gains(input: Path, labels: Labels, output: Path) -> None:
    """Draw the paired difference to the base over K, per data set, backbone and decoder.

    Args:
        input: `gains.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
    """
    data = read_csv(input)
    data = style.some(data[data["history"] == "with"].dropna(subset="difference"), output)
    looks = style.looks(data["objective"])
    rows = data[["dataset", "backbone"]].drop_duplicates()
    decoders = data["decoder"].unique()
    # More than four panels side by side cannot be read at the width of a page.
    metrics = METRICS if len(decoders) <= 2 else METRICS[-1:]
    data = data[data["metric"].isin(metrics)]
    columns = [(metric, decoder) for metric in metrics for decoder in decoders]
    cutoffs = {k: i for i, k in enumerate(sorted(data["k"].unique()))}
    figure, axes = style.panels(len(rows), len(columns), style.PAGE, 1.35)
    blocks = zip(axes, rows.itertuples(index=False), strict=True)
    for i_row, (row, (dataset, backbone)) in enumerate(blocks):
        for axis, (metric, decoder) in zip(row, columns, strict=True):
            here = data[
                (data["dataset"] == dataset)
                & (data["backbone"] == backbone)
                & (data["metric"] == metric)
                & (data["decoder"] == decoder)
            ]
            axis.axhline(0, color=style.NEUTRAL, linewidth=0.8)
            for i, (objective, (colour, marker)) in enumerate(looks.items()):
                points = here[here["objective"] == objective]
                axis.errorbar(
                    points["k"].map(cutoffs) + 0.2 * (i - (len(looks) - 1) / 2),
                    points["difference"],
                    yerr=style.bars(points["low"], points["difference"], points["high"]),
                    fmt=marker,
                    color=colour,
                    markersize=3,
                    elinewidth=1,
                )
            axis.set_xticks(list(cutoffs.values()), [str(k) for k in cutoffs])
            axis.set_xlim(-0.6, len(cutoffs) - 0.4)
            axis.grid(visible=False, axis="x")
            axis.locator_params(axis="y", nbins=5)
            if i_row == len(rows) - 1:
                axis.set_xlabel("K")
            if i_row == 0:
                style.panel_name(axis, f"{metric.upper()}@K", labels.decoder(decoder))
        # Wrapped to the height of a row.
        names = [labels.dataset(dataset), labels.block(backbone)]
        row[0].set_ylabel("\n".join(textwrap.fill(name, 20) for name in names))
    bases = ", ".join(pd.unique(data["base"]))
    handles = [style.handle(f"{name} − {bases}", look, "") for name, look in looks.items()]
    style.legend(figure, handles)
    style.save(figure, data, output)


if __name__ == "__main__":
    run(gains)
