"""Figure of the cost of training."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.figures import style
from scripts.files import read_csv
from scripts.labels import Labels

MEASURES = {
    "seconds_per_step": "seconds per step",
    "relative": "time per step / base",
    "peak_memory_mb": "peak memory (MB)",
}


def cost(input: Path, labels: Labels, output: Path) -> None:
    """Draw time per step, its ratio to the base and memory, per objective and seed.

    Args:
        input: `cost.csv` of the analyses.
        labels: names to show.
        output: PDF to write; .svg, .png and .csv beside it.
    """
    data = read_csv(input)
    data = style.some(data[data["stage"] == "training"], output)
    looks = style.looks(data["objective"])
    blocks = list(data[["dataset", "backbone"]].drop_duplicates().itertuples(index=False))
    lines = len(data[["dataset", "backbone", "objective"]].drop_duplicates())
    height = 0.5 + 0.14 * lines + 0.1 * len(blocks)
    figure, axes = style.panels(1, len(MEASURES), style.PAGE, height, sharey=True)
    ticks, y = [], 0.0
    for dataset, backbone in blocks:
        here = data[(data["dataset"] == dataset) & (data["backbone"] == backbone)]
        objectives = [name for name in looks if (here["objective"] == name).any()]
        ticks.append((y + (len(objectives) - 1) / 2, dataset, backbone))
        for objective in objectives:
            colour, marker = looks[objective]
            runs = here[here["objective"] == objective]
            for axis, measure in zip(axes[0], MEASURES, strict=True):
                axis.plot([0, runs[measure].mean()], [y, y], color=colour, alpha=0.5)
                axis.plot(runs[measure], [y] * len(runs), marker, color=colour)
            y += 1
        y += 0.7
    names = [
        f"{labels.dataset(dataset)}\n{labels.block(backbone)}" for _, dataset, backbone in ticks
    ]
    axes[0, 0].set_yticks([tick for tick, *_ in ticks], names)
    axes[0, 0].set_ylim(y - 0.2, -0.9)
    for axis, title in zip(axes[0], MEASURES.values(), strict=True):
        axis.set_xlabel(title)
        axis.set_xlim(left=0)
        axis.grid(visible=False, axis="y")
        axis.locator_params(axis="x", nbins=4)
    for axis in axes[0, 1:]:
        axis.tick_params(axis="y", length=0)
    style.legend(figure, [style.handle(labels.objective(n), look) for n, look in looks.items()])
    style.save(figure, data, output)


if __name__ == "__main__":
    run(cost)
