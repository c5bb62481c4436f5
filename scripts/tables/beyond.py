"""Table of what the methods gain on data sets that are not Amazon's."""

from __future__ import annotations

from pathlib import Path

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import choices, sample, write
from scripts.tables.gains import NOTE, compared, gain_table
from scripts.tables.settings import Method


def beyond(
    gains: Path,
    headline: Path,
    methods: list[Method],
    datasets: list[str],
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
) -> None:
    """List the gains of every method on some of the data sets.

    Args:
        gains: `gains.csv` of the analyses.
        headline: `headline.csv` of the analyses.
        methods: those with a base are compared with it.
        datasets: the data sets to show.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
    """
    found = compared(read_csv(gains), methods)
    found = in_order(found[found["dataset"].isin(datasets)], ["dataset", "backbone", "method"])
    means = compared(read_csv(headline), methods)
    notes = [sample(found, cost) if len(found) else "", NOTE, choices(chosen)]
    write(gain_table(found, means, labels), output, notes, left=4)


if __name__ == "__main__":
    run(beyond)
