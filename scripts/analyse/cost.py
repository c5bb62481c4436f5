"""What training and decoding cost: time, memory, and how much that is of the base's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from scripts.cells import BASE, cell_of, model_of
from scripts.files import read_json

#: Columns taken from the run records as they are.
RECORDED = [
    *("device", "examples", "prompts", "steps", "epochs_run", "best_epoch", "seconds"),
    *("seconds_per_step", "seconds_per_epoch", "tokens_per_step", "peak_memory_mb", "load_average"),
    *("threads", "cores", "parameters", "trainable_parameters", "truncated_prompts"),
]
#: A load average so far above the machine's cores means that its processes waited for each other.
WAITING = 1.0

COLUMNS = [
    *("dataset", "backbone", "objective", "seed", "phase", "decoder", "history"),
    *RECORDED,
    *("seconds_per_prompt", "relative", "crowded"),
]


def cost(runs: list[Path], decodings: list[Path]) -> pd.DataFrame:
    """Gather the run records of fine-tuning and decoding.

    Args:
        runs: `run.json` of every fine-tuned model.
        decodings: run record beside every LLM's recommendations.

    Returns:
        one row per record: dataset, backbone, objective, seed, phase (training, decoding), decoder,
        history, those of `RECORDED`, seconds_per_prompt (decoding), relative (time per step or per
        prompt over that of `BASE` with the same seed and on the same device, the number of threads
        included), crowded (whether more processes wanted a core than the machine has, so that times
        say little). What a phase does not record is empty, and so is `relative` where the base ran
        elsewhere.
    """
    rows: list[dict[str, Any]] = []
    for path in runs:
        record = read_json(path)
        record["examples"] = record.get("train_examples")
        if record.get("resumed"):  # Alone of its times, this one begins with the last start.
            record["seconds"] = None
        rows.append(model_of(path.parent)._asdict() | {"phase": "training"} | _recorded(record))
    for path in decodings:
        rows.append(cell_of(path)._asdict() | {"phase": "decoding"} | _recorded(read_json(path)))
    frame = pd.DataFrame(rows, columns=COLUMNS)
    decoding = frame["phase"] == "decoding"
    frame["seconds_per_prompt"] = (frame["seconds"] / frame["prompts"]).where(decoding)
    unit = frame["seconds_per_prompt"].where(decoding, frame["seconds_per_step"]).astype(float)
    keys = ["dataset", "backbone", "seed", "phase", "decoder", "history", "device"]
    own = pd.MultiIndex.from_frame(frame[keys].astype(object).fillna("").astype(str))
    bases = pd.Series(unit.to_numpy(), own)[(frame["objective"] == BASE).to_numpy()]
    frame["relative"] = unit / bases.reindex(own).to_numpy()
    load, cores = frame["load_average"].astype(float), frame["cores"].astype(float)
    frame["crowded"] = load > cores + WAITING
    return frame


def _recorded(record: dict[str, Any]) -> dict[str, Any]:
    return {column: record.get(column) for column in RECORDED}
