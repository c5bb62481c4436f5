"""What the tables of gains share: the named methods' gains over their bases, in words."""

from __future__ import annotations

import math

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.tables.format import INTERVALS, P_VALUES, UNDECIDED, UNKNOWN, number, with_p
from scripts.tables.settings import Method

#: The metrics that are shown, by column.
METRICS = {"HR@5": ("hr", 5), "HR@10": ("hr", 10), "NDCG@5": ("ndcg", 5), "NDCG@10": ("ndcg", 10)}

KEYS = ["dataset", "backbone", "method", "over"]

#: Column of the mean of the relative gains in HR@5 and NDCG@5.
MEAN_GAIN = "Mean gain at 5"

#: What stands below every table of gains.
NOTE = (
    "Gain: the change relative to the base's mean, then the paired difference with its interval "
    f"and p. {MEAN_GAIN}: mean of the relative gains in HR@5 and NDCG@5, with its interval where "
    f"the base has hits enough. {INTERVALS} {P_VALUES} {UNDECIDED}"
)


def compared(frame: pd.DataFrame, methods: list[Method]) -> pd.DataFrame:
    """The comparisons of methods with their bases.

    Args:
        frame: `gains.csv` or `headline.csv` of the analyses.
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
    found = pd.concat(parts)
    return found[found["history"] == "with"] if "history" in found else found


def lines(
    gains: pd.DataFrame, headline: pd.DataFrame
) -> dict[tuple[str, str, str, str], dict[str, str]]:
    """One line per comparison.

    Args:
        gains: `compared` of `gains.csv`, just the comparisons that the table shows.
        headline: `compared` of `headline.csv`.

    Returns:
        texts of the columns of `METRICS` and of `MEAN_GAIN`, by (dataset, backbone, method, over).
    """
    shown = shown_points(gains)
    shown = shown.assign(p=holm(shown["p"].to_numpy(float)))
    shown = shown.assign(text=[gain_text(row) for _, row in shown.iterrows()])
    means = headline.set_index(KEYS)[["relative_gain", "low", "high"]]
    rows = {}
    for key, cell in shown.groupby(KEYS, sort=False):
        texts = cell.set_index(["metric", "k"])["text"]
        rows[key] = {name: texts[point] for name, point in METRICS.items()}
        rows[key][MEAN_GAIN] = percent(*means.loc[key])
    return rows


def shown_points(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of the metrics and cut-offs of `METRICS`."""
    points = pd.MultiIndex.from_frame(frame[["metric", "k"]])
    return frame[points.isin(list(METRICS.values()))]


def gain_text(gain: pd.Series) -> str:
    """Relative gain, difference with its interval, and p."""
    if pd.isna(gain["difference"]):
        return UNKNOWN
    difference = with_p(*gain[["difference", "low", "high", "p"]])
    return f"{percent(gain['relative_gain'])}; {difference}"


def percent(value: float, low: float = math.nan, high: float = math.nan) -> str:
    """`+3.1 %`, or `+3.1 % [−1.0, +7.2]` where a bound is known."""
    if pd.isna(value):
        return UNKNOWN
    text = f"{number(value, 1, sign=True)} %"
    if pd.isna(low) and pd.isna(high):
        return text
    return f"{text} [{number(low, 1, sign=True)}, {number(high, 1, sign=True)}]"
