"""Accuracy over a grid of alpha and beta around one objective."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.cells import BASE, cell_of
from scripts.command import InputError
from scripts.contracts import PER_EXAMPLE
from scripts.evaluate.blocks import blocks_of, read_block
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import COMPARED, METRICS, adjusted, compared, is_shown

COLUMNS = [
    *("dataset", "backbone", "decoder", "parameter", "parameter_value", "objective"),
    *("metric", "k", "value", "low", "high", "seed_sd", *COMPARED, "p_holm"),
    *("seeds", "shared_seeds", "examples", "users"),
]


def sensitivity(
    metrics: list[Path],
    points: dict[str, dict[str, float]],
    centre: str,
    draws: Draws = DRAWS,
) -> pd.DataFrame:
    """Lay the cells of a grid out along alpha and along beta.

    Args:
        metrics: per-example metrics of the grid's cells and, where it is to be shown, of the base.
        points: objective -> {"alpha": …, "beta": …}, the centre included.
        centre: the objective in the middle; it stands on both axes.
        draws: of the bootstrap.

    Returns:
        dataset, backbone, decoder, parameter (alpha, beta, or base for the base line),
        parameter_value (null for the base), objective, metric, k, value, low, high (95 % interval
        over users and seeds), seed_sd, difference, difference_low, difference_high, p (to the base,
        paired; null for the base itself, and without one), p_holm (adjusted over the metrics of
        `SHOWN` of all points, each once), seeds, shared_seeds (of the difference: those that the
        base has, too), examples, users.
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
        + [{"objective": BASE, "parameter": "base", "parameter_value": None}]
    )
    used = [path for path in metrics if cell_of(path).objective in set(axes["objective"])]
    parts = [
        compared(
            read_block(cells, PER_EXAMPLE, ["user", *METRICS]),
            lambda cell: cell._replace(objective=BASE),
            block,
            draws,
        )
        for (_, block), cells in blocks_of(used).items()
    ]
    values = pd.concat(parts, ignore_index=True).rename(columns={"block": "backbone"})
    values["p_holm"] = adjusted(values["p"], is_shown(values))
    laid = axes.merge(values, on="objective").sort_values(
        ["dataset", "backbone", "decoder", "parameter", "parameter_value"], kind="stable"
    )
    return laid[COLUMNS].reset_index(drop=True)
