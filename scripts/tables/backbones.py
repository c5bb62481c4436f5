"""Table of what the methods gain on one backbone and on another, of the same data set."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import choices, sample, write
from scripts.tables.gains import NOTE, compared, gain_table
from scripts.tables.settings import Method


def backbones(
    gains: Path,
    headline: Path,
    methods: list[Method],
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """List the gains of every method by backbone, on the data sets that several backbones share.

    Args:
        gains: `gains.csv` of the analyses.
        headline: `headline.csv` of the analyses.
        methods: those with a base are compared with it.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    found = compared(read_csv(gains), methods)
    several = found.groupby(["dataset", "method"])["backbone"].transform("nunique") > 1
    found = in_order(found[several], ["dataset", "method", "backbone"])
    means = compared(read_csv(headline), methods)
    notes = [
        sample(found, cost) if len(found) else "",
        "Backbones may be evaluated on different sub-samples of the test split, of the sizes that "
        "the study gives them, so each gain is paired within its backbone and the rows are not "
        f"paired with each other. {NOTE}",
        choices(chosen),
    ]
    write(gain_table(found, means, labels), output, notes, left=4)


if __name__ == "__main__":
    run(backbones)
