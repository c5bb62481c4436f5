"""The token weights of objectives that differ in their schedule alone, by position."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.chosen import schedule_of
from scripts.cells import model_of
from scripts.command import run
from scripts.files import read_json, write_csv

COLUMNS = [
    *("dataset", "backbone", "objective", "seed", "base", "alpha", "schedule"),
    *("position", "weight", "tokens"),
]


def schedules(models: list[Path], bases: dict[str, str], output: Path) -> None:
    """Gather the weights that the models were trained with.

    Args:
        models: `run.json` of the models.
        bases: objective -> the one that has equal weights and is the same otherwise; both sides of
            it are listed where a backbone was trained with several, other objectives are not.
        output: CSV to write: dataset, backbone, objective, seed, base, alpha, schedule (equal,
            linear, learned), position (from 1; the last one holds all later tokens), weight (mean
            over the training answers' tokens at the position, at the end of the training; 1 is the
            mean over all their tokens, as only ratios of weights count), tokens (their number).
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for path in models:
        dataset, backbone, objective, seed = model_of(path.parent)
        base = bases.get(objective, objective)
        if base not in bases.values():
            continue
        record = read_json(path)
        settings = record["settings"]["objective"]
        frame = pd.DataFrame(
            {"weight": record["token_weights"], "tokens": record["position_tokens"]}, dtype=float
        )
        frame["position"] = frame.index + 1
        frame = frame.dropna()
        frame["weight"] /= (frame["weight"] * frame["tokens"]).sum() / frame["tokens"].sum()
        part = frame.astype({"tokens": int}).assign(
            dataset=dataset,
            backbone=backbone,
            objective=objective,
            seed=seed,
            base=base,
            alpha=settings["alpha"],
            schedule=schedule_of(settings),
        )
        parts.append(part[COLUMNS])
    frame = pd.concat(parts[1:] or parts, ignore_index=True)
    # A backbone that was trained with one of a base's schedules has nothing to compare.
    schedules = frame.groupby(["dataset", "backbone", "base"])["objective"].transform("nunique")
    write_csv(frame[schedules > 1], output)


if __name__ == "__main__":
    run(schedules)
