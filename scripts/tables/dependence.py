"""Table of how much each objective leans on the history."""

from __future__ import annotations

import pandas as pd

from scripts.analyse.dependence import CONTRAST, KEPT, METHOD
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

METRIC = "ndcg"
CELL = ["dataset", "backbone", *METHOD]

#: What each history that is not the user's own is, for the notes.
CONDITIONS = {
    "without": "without: no history in the prompt, so that all examples get one list",
    "wrong": "wrong: the history of another user, of a similar length",
    "shuffled": "shuffled: the same items in another order (a single item stays as it is)",
}
#: What holds of lists that other programs made.
GIVEN = "Rows without a decoder are lists of other programs; nothing checks what history they saw."


def dependence(dependence: pd.DataFrame, labels: Labels, k: int) -> Table:
    """Set accuracy and lists under every history side by side."""
    values = in_order(dependence, CELL)
    values = values[values["metric"].isin([METRIC, "overlap"]) & (values["k"] == k)]
    name = f"{METRIC.upper()}@{k}"
    rows = []
    for (*cell, history), points in values.groupby([*CELL, "history"], sort=False):
        points = points.set_index("metric")
        point = points.loc[METRIC]
        dataset, block, baseline, decoder, objective = cell
        row = {
            "Data set": labels.dataset(dataset),
            "Examples of": labels.block(block),
            "Decoder": labels.decoder(decoder) or UNKNOWN,
            "Objective": objective or labels.method(baseline, "", ""),
            "History": history,
            name: with_sd(point["value"], point["seed_sd"]),
            f"Δ {name}": with_p(*point[ADJUSTED]),
            "Δ beyond base": with_p(*point[adjusted(CONTRAST)]),
            "Kept (%)": number(point["kept"], 0),
            "Kept beyond base": with_p(*point[adjusted(KEPT)], digits=0),
        }
        if "overlap" in points.index:
            one = points.loc["overlap"]
            row[f"Overlap@{k}"] = with_interval(one["value"], one["low"], one["high"], 2)
            row["Overlap beyond base"] = with_p(*one[adjusted(CONTRAST)])
        rows.append(row)
    shown = [text for name, text in CONDITIONS.items() if name in set(values["history"])]
    notes = [
        sample(values),
        f"History that the model is shown. {'; '.join(shown)}. Every model sees the same ones. "
        "Values are means over seeds ± the standard deviation over seeds. Δ: minus the same model "
        "with its history, paired. Beyond base: the difference, or the overlap, minus that of "
        f"{bases(values)}, paired; below 0 the objective falls more. Kept: percent of the "
        "accuracy with the user's own history; a less accurate model has less to lose, and so "
        f"falls less in Δ, but not in this. Overlap@{k}: share of the top {k} with the history "
        f"that this top {k} holds too. {DIFFERENCES}",
        GIVEN if values["baseline"].any() else "",
    ]
    return Table(pd.DataFrame(rows), notes, left=5)


def adjusted(columns: list[str]) -> list[str]:
    """The columns of a difference with its adjusted p-value in place of the other."""
    return [*columns[:3], f"{columns[3]}_holm"]
