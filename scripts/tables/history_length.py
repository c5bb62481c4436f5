"""Table of accuracy, time and memory against the length of the histories."""

from __future__ import annotations

import pandas as pd

from scripts.analyse.provenance import devices
from scripts.evaluate.measure import ADJUSTED
from scripts.labels import Labels
from scripts.rows import UNKNOWN
from scripts.tables.format import (
    DIFFERENCES,
    Table,
    names_of,
    number,
    sample,
    with_interval,
    with_p,
)

#: Column -> measures shown in it, with the number of decimals.
COSTS = {
    "Seconds per step": (["training_seconds_per_step"], 3),
    "Relative to base": (["training_relative"], 2),
    "Tokens per step": (["training_tokens_per_step"], 0),
    "Training seconds": (["training_seconds"], 0),
    "Seconds per prompt": (["decoding_seconds_per_prompt"], 3),
    "Peak memory (MB), training / decoding": (
        ["training_peak_memory_mb", "decoding_peak_memory_mb"],
        0,
    ),
    "Shortened prompts (%), training / test": (
        ["training_truncated_share", "decoding_truncated_share"],
        1,
    ),
}


def history_length(history_length: pd.DataFrame, labels: Labels, k: int) -> Table:
    """List accuracy, its difference to the shortest length, time and memory."""
    frame = history_length.copy()
    frame.loc[frame["metric"].str.endswith("_share"), "value"] *= 100
    keys = ["dataset", "backbone", "decoder", "objective", "length"]
    rows = []
    for key, cell in frame.groupby(keys, sort=False):
        points = cell.set_index(["metric", "k"])
        values = cell.set_index("metric")["value"]
        row = names_of(labels, keys, key) | {
            "Longest history": str(key[-1]),
            "Mean history": number(values["mean_history"], 1),
        }
        for metric in ("hr", "ndcg"):
            point, name = points.loc[(metric, k)], f"{metric.upper()}@{k}"
            row[name] = with_interval(point["value"], point["low"], point["high"])
            row[f"Δ {name}"] = with_p(*point[ADJUSTED])
        for column, (measures, digits) in COSTS.items():
            row[column] = " / ".join(number(values.get(name), digits) for name in measures)
        rows.append(row)
    notes = [
        f"{sample(frame[frame['metric'] == 'hr'])[:-1]}; device: {devices(frame)}.",
        "Means over seeds. Every length has the same examples; Mean history counts the titles of a "
        "test example's history. Δ: paired difference to the shortest length; intervals in "
        f"brackets. {DIFFERENCES}",
        "Training: median seconds per optimiser step, relative to plain fine-tuning at the same "
        "length; decoding: seconds per distinct prompt. Shortened prompts lost their oldest titles "
        "to fit training.max_tokens. Times of jobs that shared their machine are not comparable. "
        f"{UNKNOWN}: the shortest length itself, or not known. Lengths and objectives are set in "
        "the config before training; nothing was chosen on the test split.",
    ]
    return Table(pd.DataFrame(rows), notes, left=5)
