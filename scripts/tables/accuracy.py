"""Table of accuracy: baselines, methods, and what a method gains over its base."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.cells import BASELINES
from scripts.command import run
from scripts.contracts import CUTOFFS
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import over_seeds
from scripts.tables.format import (
    UNDECIDED,
    UNKNOWN,
    number,
    sample,
    with_interval,
    with_sd,
    write,
)
from scripts.tables.settings import Method

#: The metrics whose relative gain is shown.
GAINS = ((5, "ndcg"), (5, "hr"), (10, "ndcg"), (10, "hr"))


def accuracy(
    accuracy: Path,
    gains: Path,
    methods: list[Method],
    labels: Labels,
    output: Path,
    cost: Path | None = None,
) -> None:
    """Set baselines and methods side by side on the same examples.

    Args:
        accuracy: `accuracy.csv` of the analyses.
        gains: `gains.csv` of the analyses.
        methods: the rows after the baselines; one without a cell in a block is left out of it.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
    """
    values = read_csv(accuracy)
    values = values[values["history"] == "with"]
    summary = over_seeds(values, ["value", "low", "high"], "value")
    differences = read_csv(gains)
    rows: list[dict[str, str]] = []
    bold: set[tuple[int, str]] = set()
    shown = []
    for (dataset, block), cells in summary.groupby(["dataset", "block"], sort=False):
        name = {"Data set": labels.dataset(dataset), "Examples of": labels.block(block)}
        means: dict[int, dict[str, float]] = {}
        for label, points, gain in _rows(cells, methods, labels, differences):
            shown.append(points)
            means[len(rows)] = dict(zip(_columns(points), points["value"], strict=True))
            texts = [with_sd(v, s) for v, s in zip(points["value"], points["sd"], strict=True)]
            rows.append(name | {"Method": label} | dict(zip(_columns(points), texts, strict=True)))
            if gain:
                rows.append(name | gain)
        best = pd.DataFrame(means).max(axis=1)
        bold |= {
            (i, column)
            for i, row in means.items()
            for column, value in row.items()
            if value == best[column] and value > 0 and len(means) > 1
        }
    order = [f"{metric}@{k}" for metric in ("HR", "NDCG") for k in CUTOFFS]
    frame = pd.DataFrame(rows, columns=["Data set", "Examples of", "Method", *order])
    notes = [
        sample(pd.concat(shown), cost) if shown else "",
        "Rows of one block rest on the very same test examples; the whole catalogue is ranked. "
        "Values are means over seeds ± the standard deviation over seeds (no ± where there is one "
        f"seed). {UNKNOWN}: K lies beyond the recommender's list. Bold: the highest mean of the "
        "block, which is no statement about significance.",
        "Gain: relative to the base in percent, then the difference with its 95 % interval "
        "(users resampled, examples paired, averaged over common seeds) "
        "± the standard deviation of the difference over seeds. " + UNDECIDED,
    ]
    write(frame, output, notes, left=3, bold=bold)


def _columns(points: pd.DataFrame) -> list[str]:
    pairs = zip(points["metric"], points["k"], strict=True)
    return [f"{metric.upper()}@{k}" for metric, k in pairs]


def _rows(
    cells: pd.DataFrame, methods: list[Method], labels: Labels, gains: pd.DataFrame
) -> list[tuple[str, pd.DataFrame, dict[str, str]]]:
    """Label, values and line of gains (empty without a base) of the rows of one block."""
    baselines = cells[cells["recommender"] == BASELINES]
    rows: list[tuple[str, pd.DataFrame, dict[str, str]]] = [
        (labels.recommender(BASELINES, str(name), ""), points, {})
        for name, points in baselines.groupby("objective", sort=False)
    ]
    llms = cells[cells["recommender"] != BASELINES]
    for method in methods:
        points = llms[(llms["objective"] == method.objective) & (llms["decoder"] == method.decoder)]
        if len(points):
            base = next((m for m in methods if m.label == method.base), None)
            rows.append((method.label, points, _gain(points, method, base, gains) if base else {}))
    return rows


def _gain(
    points: pd.DataFrame, method: Method, base: Method, gains: pd.DataFrame
) -> dict[str, str]:
    """The line of gains; empty where the two methods were not compared."""
    here = points.iloc[0]
    compared = gains[
        (gains["dataset"] == here["dataset"])
        & (gains["backbone"] == here["block"])
        & (gains["objective"] == method.objective)
        & (gains["base"] == base.objective)
        & (gains["decoder"] == method.decoder)
        & (gains["history"] == "with")
    ].set_index(["k", "metric"])
    if method.decoder != base.decoder or compared.empty:
        return {}
    line = {"Method": f"gain over {base.label}"}
    for k, metric in GAINS:
        gain = compared.loc[(k, metric)]
        relative = gain["relative_gain"]
        percent = UNKNOWN if pd.isna(relative) else f"{number(relative, 1, sign=True)} %"
        difference = with_interval(gain["difference"], gain["low"], gain["high"], sign=True)
        spread = "" if pd.isna(gain["seed_sd"]) else f" ± {number(gain['seed_sd'])}"
        line[f"{metric.upper()}@{k}"] = f"{percent}; {difference}{spread}"
    return line


if __name__ == "__main__":
    run(accuracy)
