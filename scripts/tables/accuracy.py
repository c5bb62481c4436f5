"""Table of accuracy: baselines, methods, what a method gains over its base, and outside numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from scripts.cells import ALL
from scripts.data.settings import References
from scripts.evaluate.measure import SHOWN
from scripts.labels import Labels, Method
from scripts.rows import UNKNOWN
from scripts.tables import comparisons
from scripts.tables.comparisons import MEAN_GAIN, NOTE
from scripts.tables.format import Table, number, sample, with_interval

#: How the table marks the rows that are not ours.
OUTSIDE = "outside reference"

#: What rows of a block have in common.
SAME_EXAMPLES = "Rows of one block rest on the same test examples; the whole catalogue is ranked."
#: What bold means.
HIGHEST = "Bold: the highest mean of the block, which is no statement about significance."


def accuracy(
    accuracy: pd.DataFrame,
    gains: pd.DataFrame,
    headline: pd.DataFrame,
    labels: Labels,
    methods: list[Method],
    references: dict[str, References],
) -> Table:
    """Set baselines and methods side by side on the same examples; a method without a cell in a
    block is left out of it, and the `references` of others stand in a section of their own."""
    means = comparisons.compared(headline, methods)
    lines = comparisons.lines(comparisons.compared(gains, methods), means)
    rows: list[dict[str, str]] = []
    bold: set[tuple[int, str]] = set()
    for name, block in blocks(accuracy, methods, labels):
        numbers = {}
        for label, points in block.items():
            numbers[len(rows)] = points.set_index(["metric", "k"])["value"]
            texts = cells(points, SHOWN, with_interval, ["value", "low", "high"])
            rows.append(name | {"Method": label} | texts)
            here = points.iloc[0]
            rows += [
                name | {"Method": f"{line.name} {over}"} | line.cells
                for (*key, over), both in lines.items()
                if key == [here["dataset"], here["block"], label]
                for line in both
            ]
        bold |= best(pd.DataFrame(numbers), SHOWN)
    for _, mean in means[means["dataset"] == ALL].iterrows():
        interval = comparisons.bounds_text(mean["low"], mean["high"])
        rows.append(
            {
                "Data set": f"mean of {mean['datasets']} data sets",
                "Examples of": labels.block(mean["backbone"]),
                "Method": f"{mean['method']}, gain over {mean['over']}",
                MEAN_GAIN: f"{comparisons.percent(mean['relative_gain'])} {interval}",
            }
        )
    for dataset, outside in references.items():
        for method, published in outside.methods.items():
            rows.append(
                {
                    "Data set": f"{labels.dataset(dataset)} ({OUTSIDE})",
                    "Examples of": UNKNOWN,
                    "Method": method,
                }
                | {name.upper(): number(value) for name, value in published.items()}
            )
    columns = ["Data set", "Examples of", "Method", *SHOWN]
    frame = pd.DataFrame(rows, columns=columns + [MEAN_GAIN] * bool(lines))
    notes = [
        sample(accuracy),
        f"{SAME_EXAMPLES} Values are means over seeds with their 95 % intervals in brackets. "
        f"{UNKNOWN}: not known, as K lies beyond the recommender's list, or does not apply. "
        f"{HIGHEST}",
        NOTE if lines else "",
        *outside_notes(references, methods, labels),
    ]
    return Table(frame, notes, left=3, bold=bold)


def cells(
    points: pd.DataFrame,
    columns: dict[str, tuple[str, int]],
    show: Callable[..., str],
    values: list[str],
) -> dict[str, str]:
    """The cells of one recommender, whose `values` of each metric and k `show` puts into words."""
    measured = points.set_index(["metric", "k"])
    return {name: show(*measured.loc[point, values]) for name, point in columns.items()}


def outside_notes(
    references: dict[str, References], methods: list[Method], labels: Labels
) -> list[str]:
    """Source and setting of everything that others have published."""
    notes: dict[str, list[str]] = {}
    for dataset, numbers in references.items():
        text = f"{numbers.source}; {numbers.setting}."
        notes.setdefault(text, []).append(labels.dataset(dataset))
    found = [
        f"{OUTSIDE.capitalize()}, no result of this study, for comparison only "
        f"({', '.join(names)}): {text}"
        for text, names in notes.items()
    ]
    return found + [
        f"{OUTSIDE.capitalize()}, no result of this study: {method.label}: {method.published_gain}."
        for method in methods
        if method.published_gain
    ]


def blocks(
    values: pd.DataFrame, methods: list[Method], labels: Labels
) -> Iterator[tuple[dict[str, str], dict[str, pd.DataFrame]]]:
    """The first cells of every block's rows, and by row label the values with history."""
    values = values[values["history"] == "with"]
    for (dataset, block), cells in values.groupby(["dataset", "block"], sort=False):
        baselines = cells[cells["baseline"] != ""]
        rows = {
            labels.method(name, "", ""): points
            for name, points in baselines.groupby("baseline", sort=False)
        }
        llms = cells[cells["baseline"] == ""]
        for method in methods:
            of_method = (llms["objective"] == method.objective) & (
                llms["decoder"] == method.decoder
            )
            if of_method.any():
                rows[method.label] = llms[of_method]
        if rows:
            name = {"Data set": labels.dataset(dataset), "Examples of": labels.block(block)}
            yield name, rows


def best(means: pd.DataFrame, columns: dict[str, tuple[str, int]]) -> set[tuple[int, str]]:
    """Row number and column of the highest means of a block, which has a column per row of the
    table, indexed by metric and k."""
    return {
        (row, name)
        for name, point in columns.items()
        for row in means
        if means.shape[1] > 1 and means.loc[point, row] == means.loc[point].max() > 0
    }
