"""The settings of every model: their values, and how they came about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from scripts.cells import cell_of, model_of
from scripts.command import InputError
from scripts.files import read_json

COLUMNS = [
    *("dataset", "backbone", "objective", "seed", "decoder"),
    *("setting", "value", "candidates", "rule", "examples"),
]

CONFIG = "set in the config before training"
VALIDATION_LOSS = "lowest loss on validation examples"
SUBSAMPLE = "a random sub-sample of the training split of {}, drawn by the seed"
VALIDATION_NDCG = "highest NDCG@10 on validation examples"


def choices(runs: list[Path], decodings: list[Path]) -> pd.DataFrame:
    """Gather the settings from the run records.

    Args:
        runs: `run.json` of every fine-tuned model.
        decodings: run record beside every LLM's recommendations with history.

    Returns:
        dataset, backbone, objective, seed, decoder (for g alone), setting (alpha, beta,
        token_weights as `weights_of` has it, learning rate, training examples, epoch, g), value,
        candidates (what it was taken from, null where it was set), rule, examples (that decided it,
        null where it was set).

    Raises:
        InputError: models of one backbone began with different weights.
    """
    rows: list[dict[str, Any]] = []
    begun: dict[str, tuple[Path, Any]] = {}
    for path in runs:
        model, record = model_of(path.parent)._asdict(), read_json(path)
        origin = record.get("backbone", {})
        if "settings" not in origin:  # A scratch backbone is another for every data set.
            first, weights = begun.setdefault(model["backbone"], (path, origin.get("sha256")))
            if weights != origin.get("sha256"):
                raise InputError(
                    f"{path}: the backbone had other weights than in {first}; see `backbone` in "
                    "both, set one of the commits as `revision` in the config, and train anew"
                )
        settings = record["settings"]
        weights = weights_of(settings["objective"])
        given = {"alpha": record["alpha"], "beta": record["beta"], "token_weights": weights}
        if weights == "learned":
            given.pop("beta")
        given["learning_rate"] = settings["training"]["learning_rate"]
        tuned = record.get("tuned", {})
        for name, value in given.items():
            row = {"setting": name.replace("learning_", "learning "), "value": value}
            row["rule"] = CONFIG
            if tried := tuned.get("candidates", {}).get(name):
                row |= {"candidates": ", ".join(map(str, tried)), "rule": VALIDATION_NDCG}
                row |= {"examples": tuned["examples"]}
            rows.append(model | row)
        sample = {"setting": "training examples", "value": record["train_examples"], "rule": CONFIG}
        if record["train_examples"] == settings["training"]["train_examples"]:
            sample["rule"] = SUBSAMPLE.format(model["dataset"])
        rows.append(model | sample)
        epoch = {"setting": "epoch", "value": record["best_epoch"], "rule": CONFIG}
        if settings["training"]["epochs"] > 1:
            epoch |= {"candidates": f"1 to {record['epochs_run']}", "rule": VALIDATION_LOSS}
            epoch |= {"examples": record["valid_examples"]}
        rows.append(model | epoch)
    for path in decodings:
        record = read_json(path)
        if "g" not in record:
            continue
        weight = {"setting": "g", "value": record["g"], "rule": CONFIG}
        if measured := record.get("validation_ndcg"):
            weight |= {"candidates": ", ".join(measured), "rule": VALIDATION_NDCG}
            weight |= {"examples": record["tune_examples"]}
        cell = cell_of(path)
        rows.append({name: getattr(cell, name) for name in COLUMNS[:5]} | weight)
    return pd.DataFrame(rows, columns=COLUMNS)


def weights_of(objective: dict[str, Any]) -> str:
    """The kind of an objective's token weights: equal, linear or learned."""
    weights = objective["token_weights"]
    return "equal" if weights == "linear" and objective["beta"] == 1 else weights
