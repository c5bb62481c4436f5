"""Table of the recommendations' shares by item popularity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.analyse.measure import COMPARED
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import OWN_HISTORIES, in_order
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    UNKNOWN,
    choices,
    number,
    sample,
    with_interval,
    with_p,
    with_sd,
    write,
)


def at_k(values: pd.DataFrame, k: int, compared: list[str]) -> pd.DataFrame:
    """`balance.csv` at one K, p-values adjusted.

    Args:
        values: `balance.csv`.
        k: depth of the lists; the histories, which have none, stay.
        compared: the measures whose differences are shown; their p-values are one family.

    Returns:
        the rows, each block's histories first, with the adjusted p-values in `p`.
    """
    chosen = values[(values["k"] == k) | (values["recommender"] == OWN_HISTORIES)]
    chosen = in_order(
        chosen.fillna({"decoder": ""}), ["dataset", "block", "recommender", "decoder"]
    )
    return chosen.assign(p=holm(chosen["p"].where(chosen["measure"].isin(compared)).to_numpy()))


def methods_of(
    values: pd.DataFrame, labels: Labels
) -> Iterator[tuple[dict[str, str], pd.DataFrame]]:
    """The first cells of every row of a table, and the rows of `at_k` behind it."""
    keys = ["dataset", "block", "recommender", "objective", "decoder"]
    for (dataset, block, *method), rows in values.groupby(keys, sort=False, dropna=False):
        yield (
            {
                "Data set": labels.dataset(dataset),
                "Examples of": labels.block(block),
                "Method": labels.recommender(*method),
            },
            rows,
        )


def difference(row: pd.Series) -> str:
    """The difference to the base with its interval and p."""
    return with_p(*row[COMPARED])


def balance(
    balance: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
    k: int = 10,
) -> None:
    """Set the top-K shares of the popularity groups beside those of the users' histories.

    Args:
        balance: `balance.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
        k: depth of the lists.
    """
    values = at_k(read_csv(balance), k, ["total_variation"])
    rows = []
    for name, method in methods_of(values, labels):
        of_group = method[method["measure"] == "share"]
        by_measure = method.drop_duplicates("measure").set_index("measure")
        row = name | {
            f"Group {g:.0f}": number(100 * share, 1)
            for g, share in zip(of_group["group"], of_group["value"], strict=True)
        }
        if "total_variation" in by_measure.index:
            tv, js = by_measure.loc["total_variation"], by_measure.loc["jensen_shannon"]
            row |= {
                "Distance": with_sd(tv["value"], tv["seed_sd"], 3),
                "95 % interval": _bounds(tv),
                "JS distance": with_interval(js["value"], js["low"], js["high"], 3),
                "Δ distance": difference(tv),
            }
        rows.append(row)
    frame = pd.DataFrame(rows)
    notes = [
        sample(values, cost) if len(values) else "",
        f"Share in percent of five groups of equally many items in the top {k} (0: rarest "
        "training targets, 4: most frequent; items of equal count are parted by their id), "
        "averaged over seeds; items with one title count as the most frequent of them. Distance: "
        "total variation distance of a seed's shares to the histories', JS: their Jensen-Shannon "
        "distance to base 2; 0 equal and 1 disjoint, means over seeds ± their standard deviation "
        "(no ± where there is one seed). Δ: paired difference of the distance to that of "
        f"{bases(values)} on the same seeds, below 0 nearer to the histories. "
        f"{INTERVALS} Those of distances reflect the resamples about the value, as resampled "
        f"distances lie too high. {P_VALUES} {UNDECIDED}",
        choices(chosen),
    ]
    write(frame, output, notes, left=3)


def _bounds(row: pd.Series) -> str:
    """The interval alone."""
    return with_interval(row["value"], row["low"], row["high"], 3).partition(" ")[2] or UNKNOWN


def bases(values: pd.DataFrame) -> str:
    """The objectives that differences are taken to."""
    return ", ".join(values["base"].dropna().unique()) or UNKNOWN


if __name__ == "__main__":
    run(balance)
