"""Table of accuracy, time and memory against the length of the histories."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.bootstrap import holm
from scripts.analyse.measure import COMPARED
from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import (
    INTERVALS,
    P_VALUES,
    UNDECIDED,
    UNKNOWN,
    devices,
    number,
    sample,
    with_interval,
    with_p,
    write,
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


def history_length(history_length: Path, k: int, labels: Labels, output: Path) -> None:
    """List accuracy, its difference to the shortest length, time and memory.

    Args:
        history_length: `history_length.csv` of the analyses.
        k: the cut-off K.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
    """
    frame = read_csv(history_length)
    share = frame["metric"].str.endswith("_share")
    frame.loc[share, "value"] *= 100
    keys = ["dataset", "backbone", "decoder", "objective", "length"]
    shown = frame["metric"].isin(["hr", "ndcg"]) & (frame["k"] == k)
    frame["p"] = holm(frame["p"].where(shown).to_numpy(float))
    frame = in_order(frame, keys)
    rows = []
    for key, cell in frame.groupby(keys, sort=False):
        dataset, backbone, decoder, objective, length = key
        points = cell.set_index(["metric", "k"])
        values = cell.set_index("metric")["value"]
        row = {
            "Data set": labels.dataset(dataset),
            "Backbone": labels.block(backbone),
            "Decoder": labels.decoder(decoder),
            "Objective": objective,
            "Longest history": str(length),
            "Mean history": number(values["mean_history"], 1),
        }
        for metric in ("hr", "ndcg"):
            point, name = points.loc[(metric, k)], f"{metric.upper()}@{k}"
            row[name] = with_interval(point["value"], point["low"], point["high"])
            row[f"Δ {name}"] = with_p(*point[COMPARED])
        for column, (measures, digits) in COSTS.items():
            row[column] = " / ".join(number(values.get(name), digits) for name in measures)
        rows.append(row)
    notes = [
        f"{sample(frame[frame['metric'] == 'hr'], None)[:-1]}; device: {devices(frame)}.",
        "Means over seeds. Every length has the same examples; Mean history counts the titles of a "
        "test example's history. Δ: paired difference to the shortest length; intervals in "
        f"brackets. {INTERVALS} {P_VALUES} {UNDECIDED}",
        "Training: median seconds per optimiser step, relative to plain fine-tuning at the same "
        "length; decoding: seconds per distinct prompt. Shortened prompts lost their oldest titles "
        "to fit training.max_tokens. Times of jobs that shared their machine are not comparable. "
        f"{UNKNOWN}: the shortest length itself, or not known. Lengths and objectives are set in "
        "the config before training; nothing was chosen on the test split.",
    ]
    write(pd.DataFrame(rows), output, notes, left=5)


if __name__ == "__main__":
    run(history_length)
