"""Table of the recommendations' shares by item popularity."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order, over_seeds
from scripts.tables.format import UNKNOWN, number, sample, with_interval, with_sd, write

MEASURES = ["share", "history_share", "distance", "low", "high"]


def balance(
    balance: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    k: int = 10,
) -> None:
    """Set the top-K shares of the popularity groups beside those of the users' histories.

    Args:
        balance: `balance.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        k: depth of the lists.
    """
    values = read_csv(balance)
    values = values[values["k"] == k]
    summary = over_seeds(values, MEASURES, "distance")
    summary = in_order(summary, ["dataset", "block", "recommender", "decoder"])
    rows = []
    for (dataset, block), cells in summary.groupby(["dataset", "block"], sort=False):
        name = {"Data set": labels.dataset(dataset), "Examples of": labels.block(block)}
        keys = ["recommender", "objective", "decoder"]
        for i, (key, cell) in enumerate(
            cells.fillna({"decoder": ""}).groupby(keys, sort=False, dropna=False)
        ):
            first = cell.iloc[0]
            if i == 0:
                rows.append(
                    name
                    | {"Method": "users' histories"}
                    | _shares(cell["group"], cell["history_share"])
                    | {"Distance": number(0.0, 3), "95 % interval": UNKNOWN}
                )
            rows.append(
                name
                | {"Method": labels.recommender(*key)}
                | _shares(cell["group"], cell["share"])
                | {
                    "Distance": with_sd(first["distance"], first["sd"], 3),
                    "95 % interval": with_interval(
                        first["distance"], first["low"], first["high"], 3
                    ).partition(" ")[2],
                }
            )
    notes = [
        sample(summary, cost) if len(summary) else "",
        f"Share in percent of five groups of equally many items in the top {k} (0: rarest "
        "training targets, 4: most frequent), averaged over seeds. Distance: total variation "
        "distance to the histories' shares, 0 equal and 1 disjoint, ± the standard deviation over "
        "seeds (no ± where there is one seed); its 95 % interval resamples users, bounds averaged "
        "over seeds. Distances whose intervals overlap widely are undecided at this size.",
    ]
    write(pd.DataFrame(rows), output, notes, left=3)


def _shares(groups: pd.Series, shares: pd.Series) -> dict[str, str]:
    return {f"Group {g}": number(100 * s, 1) for g, s in zip(groups, shares, strict=True)}


if __name__ == "__main__":
    run(balance)
