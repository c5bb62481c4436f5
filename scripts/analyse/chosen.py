"""What was chosen for every model, by whom and on what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from scripts.cells import cell_of, model_of
from scripts.command import run
from scripts.files import read_json, write_csv

COLUMNS = [
    *("dataset", "backbone", "objective", "seed", "decoder"),
    *("setting", "value", "candidates", "rule", "examples"),
]

CONFIG = "set in the config before training"
VALIDATION_LOSS = "lowest loss on validation examples"
VALIDATION_NDCG = "highest NDCG@10 on validation examples"


def chosen(models: list[Path], decodings: list[Path], output: Path) -> None:
    """Gather the settings of the models that could have been chosen, from their run records.

    Args:
        models: `run.json` of every fine-tuned model.
        decodings: run record beside every LLM's recommendations with history.
        output: CSV to write: dataset, backbone, objective, seed, decoder (for g alone), setting
            (alpha, beta, schedule as `schedule_of` has it, epoch, g), value, candidates (what it
            was chosen from, null where it was set), rule, examples (that it was chosen on, null
            where it was set).
    """
    rows: list[dict[str, Any]] = []
    for path in models:
        dataset, backbone, objective, seed = model_of(path.parent)
        name = {"dataset": dataset, "backbone": backbone, "objective": objective, "seed": seed}
        record = read_json(path)
        settings = record["settings"]
        schedule = schedule_of(settings["objective"])
        given = {"alpha": record["alpha"], "beta": record["beta"], "schedule": schedule}
        if schedule == "learned":
            given.pop("beta")
        rows += [name | {"setting": s, "value": v, "rule": CONFIG} for s, v in given.items()]
        epochs = settings["training"]["epochs"]
        epoch = {"setting": "epoch", "value": record["best_epoch"], "rule": CONFIG}
        if epochs > 1:
            epoch |= {"candidates": f"1 to {record['epochs_run']}", "rule": VALIDATION_LOSS}
            epoch |= {"examples": record["valid_examples"]}
        rows.append(name | epoch)
    for path in decodings:
        cell = cell_of(path)
        record = read_json(path)
        if "g" not in record:
            continue
        weight = {"setting": "g", "value": record["g"], "rule": CONFIG}
        if measured := record.get("validation_ndcg"):
            weight |= {"candidates": ", ".join(measured), "rule": VALIDATION_NDCG}
            weight |= {"examples": record["tune_examples"]}
        rows.append({name: getattr(cell, name) for name in COLUMNS[:5]} | weight)
    write_csv(pd.DataFrame(rows, columns=COLUMNS), output)


def schedule_of(objective: dict[str, Any]) -> str:
    """The schedule of an objective's token weights: equal, linear or learned."""
    schedule = objective.get("schedule", "linear")
    return "equal" if schedule == "linear" and objective["beta"] == 1 else schedule


if __name__ == "__main__":
    run(chosen)
