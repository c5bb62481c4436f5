"""The token weights of objectives that differ in nothing else, by position."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.choices import weights_of
from scripts.cells import model_of
from scripts.files import read_json

COLUMNS = [
    *("dataset", "backbone", "objective", "seed", "base", "alpha", "token_weights"),
    *("position", "weight", "tokens"),
]


def token_weights(runs: list[Path], bases: dict[str, str]) -> pd.DataFrame:
    """Gather the weights that the models were trained with.

    Args:
        runs: `run.json` of the models.
        bases: objective -> the one that has equal weights and is the same otherwise; both sides of
            it are listed where a backbone was trained with several, other objectives are not.

    Returns:
        dataset, backbone, objective, seed, base, alpha, token_weights (equal, linear, learned),
        position (from 1; the last one holds all later tokens), weight (mean over the training
        answers' tokens at the position, at the end of the training; 1 is the mean over all their
        tokens, as only ratios of weights count), tokens (their number).
    """
    parts = [pd.DataFrame(columns=COLUMNS)]
    for path in runs:
        model = model_of(path.parent)
        base = bases.get(model.objective, model.objective)
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
            **model._asdict(),
            base=base,
            alpha=settings["alpha"],
            token_weights=weights_of(settings),
        )
        parts.append(part[COLUMNS])
    frame = pd.concat(parts[1:] or parts, ignore_index=True)
    # A backbone that was trained with one kind of weights has nothing to compare.
    kinds = frame.groupby(["dataset", "backbone", "base"])["objective"].transform("nunique")
    return frame[kinds > 1]
