"""Table of how many items of the catalogue the recommendations reach, and how evenly."""

from __future__ import annotations

import pandas as pd

from scripts.evaluate.measure import ADJUSTED
from scripts.labels import Labels
from scripts.tables.balance import methods_at
from scripts.tables.format import UNDECIDED, Table, bases, sample, with_interval, with_p

MEASURES = {"gini": "Gini", "coverage": "Coverage"}


def concentration(balance: pd.DataFrame, labels: Labels, k: int) -> Table:
    """Set Gini index and coverage of the top K beside those of the users' histories."""
    rows = []
    for name, method in methods_at(balance, k, labels):
        by_measure = method.drop_duplicates("measure").set_index("measure")
        row = dict(name)
        for measure, title in MEASURES.items():
            one = by_measure.loc[measure]
            row[title] = with_interval(one["value"], one["low"], one["high"], 3)
            row[f"Δ {title}"] = with_p(*one[ADJUSTED])
        rows.append(row)
    notes = [
        sample(balance),
        f"Titles in the top {k} of these examples. Gini index of how often every title of the "
        "catalogue is listed: 0 all equally often, near 1 always the same few. Coverage: share of "
        "the catalogue that is listed at least once; it grows with the number of examples, so "
        "compare rows of the same examples. Both are taken of each seed, then averaged. Δ: paired "
        f"difference to {bases(balance)} on the same seeds. 95 % intervals: Student's t "
        "times the standard error: the variance over users by leaving out each of up to 100 groups "
        "of users in turn, that over seeds added where there are several, with Satterthwaite's "
        "degrees of freedom (with one seed they say nothing of other trainings, and with two they "
        "can still be too narrow); a bootstrap would hold fewer distinct users and miss the value. "
        "p: two-sided, from the same standard errors, adjusted by Holm's method over all "
        f"comparisons of this table. {UNDECIDED}",
    ]
    return Table(pd.DataFrame(rows), notes, left=3)
