"""Accuracy over a grid of alpha and beta around one objective."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.blocks import blocks_of, read_block
from scripts.analyse.bootstrap import RESAMPLES
from scripts.analyse.measure import COMPARED, METRICS, compared
from scripts.cells import cell_of
from scripts.command import InputError, run
from scripts.contracts import PER_EXAMPLE
from scripts.files import write_csv


def sensitivity(
    metrics: list[Path],
    points: dict[str, dict[str, float]],
    centre: str,
    output: Path,
    base: str = "plain",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> None:
    """Lay the cells of a grid out along alpha and along beta.

    Args:
        metrics: per-example metrics of the grid's cells and, where it is to be shown, of the base.
        points: objective -> {"alpha": …, "beta": …}, the centre included.
        centre: the objective in the middle; it stands on both axes.
        output: CSV to write: dataset, backbone, decoder, parameter (alpha, beta, or base for the
            base line), parameter_value (null for the base), objective, metric, k, value, low,
            high (95 % interval over users and seeds), seed_sd, difference, difference_low,
            difference_high, p (to the base, paired; null for the base itself, and without one),
            seeds, shared_seeds (of the difference: those that the base has, too), examples, users.
        base: objective of the base line.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    if centre not in points:
        raise InputError(f"centre: '{centre}' is not among the points {', '.join(points)}")
    axes = pd.DataFrame(
        [
            {"objective": name, "parameter": varied, "parameter_value": point[varied]}
            for varied, fixed in (("alpha", "beta"), ("beta", "alpha"))
            for name, point in points.items()
            if point[fixed] == points[centre][fixed]
        ]
        + [{"objective": base, "parameter": "base", "parameter_value": None}]
    )
    used = [path for path in metrics if cell_of(path).objective in set(axes["objective"])]
    parts = [
        compared(
            read_block(cells, PER_EXAMPLE, ["user", *METRICS]),
            lambda cell: cell._replace(objective=base),
            block,
            resamples,
            seed,
        )
        for (_, block), cells in blocks_of(used).items()
    ]
    values = pd.concat(parts, ignore_index=True).rename(columns={"recommender": "backbone"})
    laid = axes.merge(values, on="objective").sort_values(
        ["dataset", "backbone", "decoder", "parameter", "parameter_value"], kind="stable"
    )
    columns = [
        "dataset",
        "backbone",
        "decoder",
        "parameter",
        "parameter_value",
        "objective",
        "metric",
        "k",
        "value",
        "low",
        "high",
        "seed_sd",
        *COMPARED,
        "seeds",
        "shared_seeds",
        "examples",
        "users",
    ]
    write_csv(laid[columns], output)


if __name__ == "__main__":
    run(sensitivity)
