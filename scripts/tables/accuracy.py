"""Table of accuracy: baselines, methods, what a method gains over its base, and outside numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scripts.analyse.headline import ALL
from scripts.cells import BASELINES
from scripts.command import run
from scripts.data.settings import References
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables import gains as gain_lines
from scripts.tables.format import UNKNOWN, choices, number, sample, with_interval, write
from scripts.tables.gains import MEAN_GAIN, METRICS, NOTE
from scripts.tables.settings import Method

#: How the table marks the rows that are not ours.
OUTSIDE = "outside reference"


def accuracy(
    accuracy: Path,
    gains: Path,
    headline: Path,
    methods: list[Method],
    labels: Labels,
    output: Path,
    references: dict[str, References] | None = None,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """Set baselines and methods side by side on the same examples.

    Args:
        accuracy: `accuracy.csv` of the analyses.
        gains: `gains.csv` of the analyses.
        headline: `headline.csv` of the analyses.
        methods: the rows after the baselines; one without a cell in a block is left out of it.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        references: numbers of others by data set, shown in a section of their own.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    values = read_csv(accuracy)
    means = gain_lines.compared(read_csv(headline), methods)
    lines = gain_lines.lines(gain_lines.compared(read_csv(gains), methods), means)
    rows: list[dict[str, str]] = []
    bold: set[tuple[int, str]] = set()
    for name, block in blocks(values, methods, labels):
        found = {}
        for label, points in block.items():
            measured = points.set_index(["metric", "k"])
            found[len(rows)] = measured["value"]
            texts = {
                column: with_interval(*measured.loc[point, ["value", "low", "high"]])
                for column, point in METRICS.items()
            }
            rows.append(name | {"Method": label} | texts)
            here = points.iloc[0]
            rows += [
                name | {"Method": f"{line.name} {over}"} | line.cells
                for (*key, over), both in lines.items()
                if key == [here["dataset"], here["block"], label]
                for line in both
            ]
        bold |= best(pd.DataFrame(found), METRICS)
    for _, mean in means[means["dataset"] == ALL].iterrows():
        interval = gain_lines.bounds_text(mean["low"], mean["high"])
        rows.append(
            {
                "Data set": f"mean of {mean['datasets']} data sets",
                "Examples of": labels.block(mean["backbone"]),
                "Method": f"{mean['method']}, gain over {mean['over']}",
                MEAN_GAIN: f"{gain_lines.percent(mean['relative_gain'])} {interval}",
            }
        )
    outside = {name: numbers for name, numbers in (references or {}).items() if len(values)}
    for dataset, numbers in outside.items():
        for method, published in numbers.methods.items():
            rows.append(
                {
                    "Data set": f"{labels.dataset(dataset)} ({OUTSIDE})",
                    "Examples of": UNKNOWN,
                    "Method": method,
                }
                | {name.upper(): number(value) for name, value in published.items()}
            )
    columns = ["Data set", "Examples of", "Method", *METRICS]
    frame = pd.DataFrame(rows, columns=columns + [MEAN_GAIN] * bool(lines))
    notes = [
        sample(values, cost) if len(values) else "",
        "Rows of one block rest on the very same test examples; the whole catalogue is ranked. "
        "Values are means over seeds with their 95 % intervals in brackets. "
        f"{UNKNOWN}: not known, as K lies beyond the recommender's list, or does not apply. Bold: "
        "the highest mean of the block, which is no statement about significance.",
        NOTE if lines else "",
        choices(chosen),
        *outside_notes(outside, methods, labels),
    ]
    write(frame, output, notes, left=3, bold=bold)


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
        baselines = cells[cells["recommender"] == BASELINES]
        rows = {
            labels.recommender(BASELINES, str(name), ""): points
            for name, points in baselines.groupby("objective", sort=False)
        }
        llms = cells[cells["recommender"] != BASELINES]
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
    """Row number and column of the highest means of a block.

    Args:
        means: a column per row of the table, indexed by metric and k.
        columns: metric and k of the table's columns.
    """
    return {
        (row, name)
        for name, point in columns.items()
        for row in means
        if means.shape[1] > 1 and means.loc[point, row] == means.loc[point].max() > 0
    }


if __name__ == "__main__":
    run(accuracy)
