"""Table of how many items of the catalogue the recommendations reach, and how evenly."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables.balance import at_k, bases, difference, methods_of
from scripts.tables.format import UNDECIDED, choices, sample, with_interval, write

MEASURES = {"gini": "Gini", "coverage": "Coverage"}


def concentration(
    balance: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
    k: int = 10,
) -> None:
    """Set Gini index and coverage of the top K beside those of the users' histories.

    Args:
        balance: `balance.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
        k: depth of the lists.
    """
    values = at_k(read_csv(balance), k, list(MEASURES))
    rows = []
    for name, method in methods_of(values, labels):
        by_measure = method.drop_duplicates("measure").set_index("measure")
        row = dict(name)
        for measure, title in MEASURES.items():
            one = by_measure.loc[measure]
            row |= {
                title: with_interval(one["value"], one["low"], one["high"], 3),
                f"Δ {title}": difference(one),
            }
        rows.append(row)
    notes = [
        sample(values, cost) if len(values) else "",
        f"Titles in the top {k} of these examples. Gini index of how often every title of the "
        "catalogue is listed: 0 all equally often, near 1 always the same few. Coverage: share of "
        "the catalogue that is listed at least once; it grows with the number of examples, so "
        "compare rows of the same examples. Both are taken of each seed, then averaged. Δ: paired "
        f"difference to {bases(values)} on the same seeds. 95 % intervals: Student's t "
        "times the standard error: the variance over users by leaving out each of up to 100 groups "
        "of users in turn, that over seeds added where there are several, with Satterthwaite's "
        "degrees of freedom (with one seed they say nothing of other trainings, and with two they "
        "can still be too narrow); a bootstrap would hold fewer distinct users and miss the value. "
        "p: two-sided, from the same standard errors, adjusted by Holm's method over all "
        f"comparisons of this table. {UNDECIDED}",
        choices(chosen),
    ]
    write(pd.DataFrame(rows), output, notes, left=3)


if __name__ == "__main__":
    run(concentration)
