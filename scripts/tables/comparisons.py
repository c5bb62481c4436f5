"""What the tables of gains share: the named methods' gains over their bases, in words."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from scripts.evaluate.measure import SHOWN
from scripts.labels import Labels, Method
from scripts.rows import UNKNOWN
from scripts.tables.format import DIFFERENCES, number, p_text, with_interval

KEYS = ["dataset", "backbone", "method", "over"]

#: Column of the mean of the relative gains in HR@5 and NDCG@5.
MEAN_GAIN = "Mean gain at 5"

#: What stands below every table of gains.
NOTE = (
    "Gain: the change relative to the base's mean, with p. Difference: paired, with its interval. "
    f"{MEAN_GAIN}: mean of the relative gains in HR@5 and NDCG@5, its interval in percent below it "
    f"where the base has hits enough. {DIFFERENCES}"
)


class Line(NamedTuple):
    """One line of a comparison."""

    name: str
    """What it shows, to be followed by the base."""
    cells: dict[str, str]
    """Texts by column."""


def compared(frame: pd.DataFrame, methods: list[Method]) -> pd.DataFrame:
    """The comparisons of methods with their bases.

    Args:
        frame: the analysis `gains` or `headline`.
        methods: those with a base that differs in the objective alone are compared.

    Returns:
        the rows with history of these comparisons, in the order of the methods, with the columns
        `method` and `over`, the label of its base.
    """
    by_label = {method.label: method for method in methods}
    parts = [frame.head(0).assign(method="", over="")]
    for method in methods:
        base = by_label.get(method.base or "")
        if base is not None and base.decoder == method.decoder:
            rows = frame[
                (frame["objective"] == method.objective)
                & (frame["base"] == base.objective)
                & (frame["decoder"] == method.decoder)
            ]
            parts.append(rows.assign(method=method.label, over=base.label))
    rows = pd.concat(parts)
    return rows[rows["history"] == "with"] if "history" in rows else rows


def lines(gains: pd.DataFrame, headline: pd.DataFrame) -> dict[tuple[str, ...], list[Line]]:
    """Two lines per comparison.

    Args:
        gains: `compared` of the gains, just the comparisons that the table shows.
        headline: `compared` of the headline.

    Returns:
        by (dataset, backbone, method, over) the gain with its p and the difference with its
        interval, each with the texts of the columns of `SHOWN` and of `MEAN_GAIN`.
    """
    means = headline.set_index(KEYS)[["relative_gain", "low", "high"]]
    rows = {}
    for key, cell in gains.groupby(KEYS, sort=False):
        points = cell.set_index(["metric", "k"])
        gain, difference = {}, {}
        for name, point in SHOWN.items():
            row = points.loc[point]
            gain[name] = percent(row["relative_gain"])
            if pd.notna(row["p_holm"]):
                gain[name] += f"; {p_text(row['p_holm'])}"
            bounds = row[["difference", "low", "high"]]
            difference[name] = with_interval(*bounds, sign=True)
        mean = means.loc[key]
        gain[MEAN_GAIN] = percent(mean["relative_gain"])
        difference[MEAN_GAIN] = bounds_text(mean["low"], mean["high"])
        rows[key] = [Line("gain over", gain), Line("difference to", difference)]
    return rows


def percent(value: float) -> str:
    """`+3.1 %`."""
    return UNKNOWN if pd.isna(value) else f"{number(value, 1, sign=True)} %"


def bounds_text(low: float, high: float) -> str:
    """The interval of a relative gain, in percent: `[−1.0, +7.2]`."""
    if pd.isna(low) and pd.isna(high):
        return UNKNOWN
    return f"[{number(low, 1, sign=True)}, {number(high, 1, sign=True)}]"


def gain_table(gains: pd.DataFrame, means: pd.DataFrame, labels: Labels) -> pd.DataFrame:
    """Two rows per comparison, in the order of `gains`; see `lines`."""
    rows = [
        {
            "Data set": labels.dataset(dataset),
            "Method": method,
            "Backbone": labels.block(backbone),
            "Row": f"{line.name} {over}",
            **line.cells,
        }
        for (dataset, backbone, method, over), both in lines(gains, means).items()
        for line in both
    ]
    return pd.DataFrame(rows, columns=["Data set", "Method", "Backbone", "Row", *SHOWN, MEAN_GAIN])
