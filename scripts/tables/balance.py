"""Table of the recommendations' shares by item popularity."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from scripts.evaluate.measure import ADJUSTED
from scripts.labels import Labels
from scripts.rows import UNKNOWN, in_order
from scripts.tables.format import (
    DIFFERENCES,
    Table,
    bases,
    number,
    sample,
    with_interval,
    with_p,
    with_sd,
)


def methods_at(
    values: pd.DataFrame, k: int, labels: Labels
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The first cells of every row of a table, and the rows of the analysis behind it; the
    histories, which have no k, stand first in their block."""
    shown = values[(values["k"] == k) | values["k"].isna()]
    method = ["baseline", "objective", "decoder"]
    shown = in_order(shown, ["dataset", "block", "decoder"])
    for (dataset, block, *names), rows in shown.groupby(["dataset", "block", *method], sort=False):
        yield (
            {
                "Data set": labels.dataset(dataset),
                "Examples of": labels.block(block),
                "Method": labels.method(*names),
            },
            rows,
        )


def balance(balance: pd.DataFrame, labels: Labels, k: int) -> Table:
    """Set the top-K shares of the popularity groups beside those of the users' histories."""
    rows = []
    for name, method in methods_at(balance, k, labels):
        of_group = method[method["measure"] == "share"]
        by_measure = method.drop_duplicates("measure").set_index("measure")
        row = name | {
            f"Group {g:.0f}": number(100 * share, 1)
            for g, share in zip(of_group["group"], of_group["value"], strict=True)
        }
        if "total_variation" in by_measure.index:
            tv, js = by_measure.loc["total_variation"], by_measure.loc["jensen_shannon"]
            interval = with_interval(tv["value"], tv["low"], tv["high"], 3)
            row |= {
                "Distance": with_sd(tv["value"], tv["seed_sd"], 3),
                "95 % interval": interval.partition(" ")[2] or UNKNOWN,
                "JS distance": with_interval(js["value"], js["low"], js["high"], 3),
                "Δ distance": with_p(*tv[ADJUSTED]),
            }
        rows.append(row)
    notes = [
        sample(balance),
        f"Share in percent of five groups of equally many items in the top {k} (0: rarest "
        "training targets, 4: most frequent; items of equal count are parted by their id), "
        "averaged over seeds; items with one title count as the most frequent of them. Distance: "
        "total variation distance of a seed's shares to the histories', JS: their Jensen-Shannon "
        "distance to base 2; 0 equal and 1 disjoint, means over seeds ± their standard deviation "
        "(no ± where there is one seed). Δ: paired difference of the distance to that of "
        f"{bases(balance)} on the same seeds, below 0 nearer to the histories. "
        f"{DIFFERENCES} Intervals of distances reflect the resamples about the value, as resampled "
        "distances lie too high.",
    ]
    return Table(pd.DataFrame(rows), notes, left=3)
