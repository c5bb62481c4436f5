"""Table of the cost of training and decoding."""

from __future__ import annotations

import pandas as pd

from scripts.analyse.provenance import devices
from scripts.labels import Labels
from scripts.rows import UNKNOWN, in_order, listed, span
from scripts.tables.format import Table, number


def cost(cost: pd.DataFrame, labels: Labels) -> Table:
    """List time and memory of training and decoding, and their ratio to plain fine-tuning."""
    keys = ["dataset", "backbone", "phase", "decoder", "history", "objective"]
    frame = in_order(cost, keys)
    rows = []
    for key, cell in frame.groupby(keys, sort=False):
        dataset, backbone, phase, decoder, history, objective = key
        means = cell.mean(numeric_only=True)
        decoding = phase == "decoding"
        unit = means["seconds_per_prompt"] if decoding else means["seconds_per_step"]
        rows.append(
            {
                "Data set": labels.dataset(dataset),
                "Backbone": labels.block(backbone),
                "Phase": f"{labels.decoder(decoder)}, {history}" if decoding else str(phase),
                "Objective": objective,
                "Seconds per step / prompt": number(unit, 3),
                "Relative to base": number(means["relative"], 2),
                "Seconds per epoch": number(means["seconds_per_epoch"], 1),
                "Tokens per step": number(means["tokens_per_step"], 0),
                "Steps": span(cell["steps"]),
                "Total seconds": number(means["seconds"], 0),
                "Peak memory (MB)": number(means["peak_memory_mb"], 0),
                "Truncated prompts": span(cell["truncated_prompts"]),
            }
        )
    seeds = listed(frame["seed"])
    notes = [
        f"Device: {devices(frame)}. Seeds: {seeds}. {span(frame['examples'])} examples per run.",
        crowding(frame),
        "Training: median seconds per optimiser step and per epoch (validation left out), tokens "
        "that the model runs over in a step, padding included; decoding: seconds per distinct "
        "prompt, named by decoder and history. Means over seeds, ranges where the runs differ. "
        "Relative: over plain fine-tuning with the same seed on the same device. Nothing is chosen "
        "on the test split. Truncated prompts lost their oldest titles to fit training.max_tokens, "
        f"or the backbone's context. {UNKNOWN}: not recorded for this phase; of a ratio, plain "
        "fine-tuning ran on another device; of total seconds, a run that was resumed.",
    ]
    return Table(pd.DataFrame(rows), notes, left=4)


def crowding(frame: pd.DataFrame) -> str:
    """How many runs had too few cores, in words, from the columns crowded, load_average, threads
    and cores of every run."""
    load, crowded = frame["load_average"], frame["crowded"].sum()
    return (
        f"Load average {number(load.min(), 1)} to {number(load.max(), 1)} on "
        f"{span(frame['cores'])} cores; runs use {span(frame['threads'])} threads. {crowded} of "
        f"{load.notna().sum()} runs were on a machine with over one process more than it has cores"
        + (": their times say little." if crowded else ".")
    )
