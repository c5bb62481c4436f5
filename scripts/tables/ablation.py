"""Table of the objective's parts: each alone and together, per decoder."""

from __future__ import annotations

import pandas as pd

from scripts.cells import BASE
from scripts.evaluate.measure import SHOWN
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import DIFFERENCES, Table, names_of, sample, with_p, with_sd

CELL = ["dataset", "backbone", "decoder", "objective"]


def ablation(accuracy: pd.DataFrame, gains: pd.DataFrame, labels: Labels) -> Table:
    """Set the objectives side by side, each with its difference to plain fine-tuning."""
    values = in_order(shown_values(accuracy), CELL)
    joined = with_differences(values, gains[gains["base"] == BASE])
    rows = [
        names_of(labels, CELL, cell) | differences_text(points)
        for cell, points in joined.groupby(CELL, sort=False)
    ]
    notes = [
        sample(values),
        "Values are means over seeds ± the standard deviation over seeds (no ± where there is one "
        f"seed). Δ: paired difference to {BASE} with the same backbone, decoder and seeds, with "
        f"its interval in brackets and p. {DIFFERENCES}",
    ]
    return Table(pd.DataFrame(rows), notes, left=4)


def shown_values(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of the models with their history, without intervals."""
    models = (accuracy["history"] == "with") & (accuracy["baseline"] == "")
    return accuracy[models].rename(columns={"block": "backbone"}).drop(columns=["low", "high"])


def with_differences(values: pd.DataFrame, gains: pd.DataFrame) -> pd.DataFrame:
    """Values beside the differences, with the history, of the same cells and metrics."""
    keys = [*CELL, "metric", "k"]
    differences = gains.loc[
        gains["history"] == "with", [*keys, "difference", "low", "high", "p_holm"]
    ]
    return values.merge(differences, on=keys, how="left")


def differences_text(points: pd.DataFrame) -> dict[str, str]:
    """Value and difference of each metric of `SHOWN`, of one cell's rows of `with_differences`."""
    points = points.set_index(["metric", "k"])
    texts = {}
    for name, point in SHOWN.items():
        row = points.loc[point]
        texts[name] = with_sd(row["value"], row["seed_sd"])
        texts[f"Δ {name}"] = with_p(*row[["difference", "low", "high", "p_holm"]])
    return texts
