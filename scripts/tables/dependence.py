"""Table of how much each objective leans on the history."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.analyse.dependence import CONTRAST, KEPT
from scripts.analyse.measure import COMPARED
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    choices,
    number,
    sample,
    with_interval,
    with_p,
    with_sd,
    write,
)

METRIC = "ndcg"
KEYS = ["dataset", "backbone", "decoder", "objective"]

#: What each history that is not the own one is, for the notes.
CONDITIONS = {
    "without": "without: no history in the prompt, so that all examples get one list",
    "wrong": "wrong: the history of another user, of a similar length",
    "shuffled": "shuffled: the own items in another order (a single item stays as it is)",
}


def dependence(
    dependence: Path,
    labels: Labels,
    output: Path,
    cost: Path | None = None,
    chosen: Path | None = None,
    k: int = 10,
) -> None:
    """Set accuracy and lists under every history side by side.

    Args:
        dependence: `dependence.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
        cost: `cost.csv` of the analyses, for the device.
        chosen: `chosen.csv` of the analyses, for the settings.
        k: the cut-off K, that of the analysis' overlap.
    """
    values = in_order(read_csv(dependence), KEYS)
    overlap = values["metric"] == "overlap"
    accuracy = (values["metric"] == METRIC) & (values["k"] == k)
    values = values[overlap | accuracy].reset_index(drop=True)
    # One family: all differences of the accuracy, and what separates the objectives.
    columns = ["p", "contrast_p", "kept_contrast_p"]
    adjusted = holm(values[columns].to_numpy(float).ravel())
    values[columns] = adjusted.reshape(-1, len(columns))
    name = f"{METRIC.upper()}@{k}"
    rows = []
    for (dataset, backbone, decoder, objective, history), cell in values.groupby(
        [*KEYS, "history"], sort=False
    ):
        points = cell.set_index("metric")
        point = points.loc[METRIC]
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Objective": objective,
            "History": history,
            name: with_sd(point["value"], point["seed_sd"]),
            f"Δ {name}": with_p(*point[COMPARED]),
            "Δ beyond base": with_p(*point[CONTRAST]),
            "Kept (%)": number(point["kept"], 0),
            "Kept beyond base": with_p(*point[KEPT], digits=0),
        }
        if "overlap" in points.index:
            one = points.loc["overlap"]
            row[f"Overlap@{k}"] = with_interval(one["value"], one["low"], one["high"], 2)
            row["Overlap beyond base"] = with_p(*one[CONTRAST])
        rows.append(row)
    bases = ", ".join(values["base"].dropna().unique())
    shown = [text for name, text in CONDITIONS.items() if name in set(values["history"])]
    notes = [
        sample(values, cost),
        f"History that the model is shown. {'; '.join(shown)}. Every model sees the same ones. "
        "Values are means over seeds ± the standard deviation over seeds. Δ: minus the same model "
        "with its history, paired. Beyond base: the difference, or the overlap, minus that of "
        f"{bases or 'the base'}, paired; below 0 the objective falls more. Kept: percent of the "
        "accuracy with the own history; a less accurate model has less to lose, and so falls less "
        f"in Δ, but not in this. Overlap@{k}: share of the top {k} with the history that this top "
        f"{k} holds too. {INTERVALS} {P_VALUES} "
        f"{UNDECIDED}",
        choices(chosen),
    ]
    write(pd.DataFrame(rows), output, notes, left=5)


if __name__ == "__main__":
    run(dependence)
