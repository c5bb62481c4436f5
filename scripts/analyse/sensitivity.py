"""Accuracy over a grid of alpha and beta around one objective."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.cells import BASE, Cell, cell_of
from scripts.command import InputError
from scripts.contracts import PER_EXAMPLE
from scripts.evaluate.blocks import blocks_of, codes, read_block
from scripts.evaluate.bootstrap import DRAWS, Draws
from scripts.evaluate.measure import COMPARED, METRICS, adjusted, compared, estimates, is_shown

RANGE = ["range", "range_low", "range_high", "range_p"]
COLUMNS = [
    *("dataset", "backbone", "decoder", "parameter", "parameter_value", "objective"),
    *("metric", "k", "value", "low", "high", "seed_sd", *COMPARED, "p_holm", *RANGE),
    *("seeds", "shared_seeds", "examples", "users"),
]


def sensitivity(
    metrics: list[Path], points: dict[str, dict[str, float]], centre: str, draws: Draws = DRAWS
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
        `SHOWN` of all points, each once), range (of the values along the axis: the best less the
        worst, paired) with range_low, range_high and range_p (multiplied by the number of pairs
        that it was picked among), seeds, shared_seeds (of the difference: those that the base has,
        too), examples, users.
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
    parts, ranges = [], []
    for (_, block), cells in blocks_of(used).items():
        frames = read_block(cells, PER_EXAMPLE, ["user", *METRICS])
        part = compared(frames, lambda cell: cell._replace(objective=BASE), block, draws)
        parts.append(part)
        for varied in points[centre]:
            along = axes.loc[axes["parameter"] == varied, "objective"]
            for _, points_of in part[part["objective"].isin(along)].groupby("decoder"):
                found = range_along(frames, points_of, draws)
                names = points_of.iloc[0][["dataset", "block", "decoder"]].to_dict()
                ranges.append(found.assign(**names, parameter=varied))
    values = pd.concat(parts, ignore_index=True).rename(columns={"block": "backbone"})
    values["p_holm"] = adjusted(values["p"], is_shown(values))
    laid = axes.merge(values, on="objective").sort_values(
        ["dataset", "backbone", "decoder", "parameter", "parameter_value"], kind="stable"
    )
    found = pd.concat(ranges, ignore_index=True).rename(columns={"block": "backbone"})
    laid = laid.merge(found, how="left")
    return laid[COLUMNS].reset_index(drop=True)


def range_along(
    frames: dict[Cell, pd.DataFrame], values: pd.DataFrame, draws: Draws
) -> pd.DataFrame:
    """By how much the best point of an axis exceeds the worst, per metric.

    Args:
        frames: per cell the column `user` and `METRICS`.
        values: rows of the points of one decoder on the axis, with metric, k and value.
        draws: of the bootstrap.

    Returns:
        metric, k and `RANGE`; null where a metric is unknown, there is one point, or the two have
        no seed in common.
    """
    cells = {cell: frame for cell, frame in frames.items() if cell.decoder in [*values["decoder"]]}
    pairs = math.comb(values["objective"].nunique(), 2)
    rows = []
    for (metric, k), here in values.dropna(subset="value").groupby(["metric", "k"], sort=False):
        of_point = here.set_index("objective")["value"]
        if len(of_point) < 2:
            continue
        best = of_point.idxmax()
        worst = of_point.drop(best).idxmin()
        name = f"{metric}@{k}"
        both = [
            (frame[name] - cells[cell._replace(objective=worst)][name]).to_numpy(float)
            for cell, frame in cells.items()
            if cell.objective == best and cell._replace(objective=worst) in cells
        ]
        if both:
            users = codes(next(iter(cells.values()))["user"])
            found = estimates(np.stack(both)[..., None], users, draws).iloc[0]
            p = min(1.0, found["p"] * pairs)
            numbers = zip(RANGE, [found["value"], found["low"], found["high"], p], strict=True)
            rows.append({"metric": metric, "k": k, **dict(numbers)})
    return pd.DataFrame(rows, columns=["metric", "k", *RANGE])
