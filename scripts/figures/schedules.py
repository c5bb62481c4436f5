"""Figure of the token weights by position, per schedule."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels

#: Positions that fewer of the answers than this share reach are left out.
REACHED = 0.01


def schedules(input: Path, labels: Labels, output: Path) -> None:
    """Draw weight over token position: thin lines are seeds, thick ones their mean.

    Args:
        input: `schedules.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
    """
    data = style.some(read_csv(input).sort_values("alpha", kind="stable"), output)
    runs = ["dataset", "backbone", "objective", "seed"]
    data = data[data["tokens"] >= REACHED * data.groupby(runs)["tokens"].transform("first")]
    looks = style.looks(data["objective"])
    blocks = data[["dataset", "backbone", "alpha"]].drop_duplicates()
    figure, axes = style.wrapped(len(blocks), style.PAGE, 1.8, across=3)
    columns = min(3, len(blocks))
    for i, (axis, block) in enumerate(zip(axes, blocks.itertuples(index=False), strict=True)):
        here = data[(data[blocks.columns] == list(block)).all(axis=1)]
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
    style.save(figure, data, output)


if __name__ == "__main__":
    run(schedules)
