"""Table of the cost of training and decoding."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.rows import in_order
from scripts.tables.format import UNKNOWN, devices, number, span, write


def cost(cost: Path, labels: Labels, output: Path) -> None:
    """List time and memory of training and decoding, and their ratio to plain fine-tuning.

    Args:
        cost: `cost.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
    """
    keys = ["dataset", "backbone", "stage", "decoder", "history", "objective"]
    frame = in_order(read_csv(cost), keys)
    rows = []
    for key, cell in frame.groupby(keys, sort=False, dropna=False):
        dataset, backbone, stage, decoder, history, objective = key
        means = cell.select_dtypes("number").mean()
        decoding = stage == "decoding"
        unit = means["seconds_per_prompt"] if decoding else means["seconds_per_step"]
        rows.append(
            {
                "Data set": labels.dataset(dataset),
                "Backbone": labels.block(backbone),
                "Stage": f"{labels.decoder(decoder)}, {history}" if decoding else str(stage),
                "Objective": labels.objective(objective),
                "Seconds per step / prompt": number(unit, 3),
                "Relative to base": number(means["relative"], 2),
                "Tokens per step": number(means.get("tokens_per_step", float("nan")), 0),
                "Steps": span(cell["steps"]),
                "Total seconds": number(means["seconds"], 0),
                "Peak memory (MB)": number(means.get("peak_memory_mb", float("nan")), 0),
                "Truncated prompts": span(cell["truncated_prompts"]),
            }
        )
    seeds = ", ".join(str(seed) for seed in sorted(frame["seed"].unique()))
    notes = [
        f"Device: {devices(frame)}. Seeds: {seeds}. {span(frame['examples'])} examples per run.",
        "Training: median seconds per optimiser step; decoding: seconds per distinct "
        "prompt, named by decoder and history. Means over seeds, ranges where the runs differ. "
        "Relative: over plain fine-tuning with the same seed. Times of jobs that shared their "
        f"machine are not comparable. {UNKNOWN}: not recorded for this stage.",
    ]
    write(pd.DataFrame(rows), output, notes, left=4)


if __name__ == "__main__":
    run(cost)
