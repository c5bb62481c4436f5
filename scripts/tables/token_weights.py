"""Table of the kinds of token weights: objectives that differ in nothing else."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.ablation import CELL, differences_text, shown_values, with_differences
from scripts.tables.format import DIFFERENCES, Table, names_of, number, sample

#: Positions whose weights are shown; the figure shows all.
POSITIONS = (1, 2, 3, 5, 10)


def token_weights(
    accuracy: pd.DataFrame, token_weights: pd.DataFrame, gains: pd.DataFrame, labels: Labels
) -> Table:
    """Set equal, falling and learned token weights side by side, at the same alpha."""
    pair = ["dataset", "backbone", "base"]
    kinds = token_weights[[*pair, "objective", "alpha", "token_weights"]].drop_duplicates()
    compared = gains.merge(kinds[[*pair, "objective"]])
    # A base counts where there is something to compare it with.
    blocks = compared[[*CELL[:3], "base"]].drop_duplicates()
    values = shown_values(accuracy).merge(kinds.merge(blocks, on=pair), on=CELL)
    values = in_order(values, [*CELL[:3], "base", "token_weights", "objective"])
    means = token_weights.groupby(["dataset", "backbone", "objective", "position"])["weight"].mean()
    weights = f"Weight of tokens {', '.join(map(str, POSITIONS))}"
    rows = []
    for cell, points in with_differences(values, compared).groupby(CELL, sort=False):
        dataset, backbone, _, objective = cell
        first = points.iloc[0]
        own = (number(means.get((dataset, backbone, objective, at)), 2) for at in POSITIONS)
        rows.append(
            names_of(labels, CELL, cell)
            | {"Weights": first["token_weights"], "α": f"{first['alpha']:g}"}
            | differences_text(points)
            | {weights: " / ".join(own)}
        )
    notes = [
        sample(values),
        "Values are means over seeds ± their standard deviation (no ± where there is one seed). Δ: "
        "paired difference to equal weights at the same α, with the same backbone, decoder and "
        f"seeds. {DIFFERENCES}",
        "Weight: at the end of the training, mean over seeds and over the training answers, where "
        "1 is the mean of all tokens.",
    ]
    return Table(pd.DataFrame(rows), notes, left=6)
