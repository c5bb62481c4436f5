"""What every table of measurements says of its models: where they ran, and how their settings came
about."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.choices import CONFIG, SUBSAMPLE, VALIDATION_NDCG
from scripts.files import read_csv
from scripts.labels import SIGNS
from scripts.rows import plain_number, span


def provenance(cost: Path, choices: Path) -> pd.DataFrame:
    """Put devices and settings into words.

    Args:
        cost: `cost.csv` of the analyses.
        choices: `choices.csv` of the analyses.

    Returns:
        about (device, settings), words.
    """
    rows = [("device", devices(read_csv(cost))), ("settings", settings(read_csv(choices)))]
    return pd.DataFrame(rows, columns=["about", "words"])


def devices(cost: pd.DataFrame) -> str:
    """Where models were trained and decoded, from the column `device`."""
    return ", ".join(sorted(set(cost["device"]) - {""}))


def settings(choices: pd.DataFrame) -> str:
    """How the models' settings came about, in one sentence for each."""
    frame = choices.assign(value=plain_number(choices["value"]))
    objectives = []
    tuned = frame["setting"].isin(["alpha", "beta", "learning rate"])
    tuned &= frame["rule"] == VALIDATION_NDCG
    for objective, rows in frame[~tuned].groupby("objective", sort=False):
        values = dict(zip(rows["setting"], rows["value"], strict=True))
        named = [f"{SIGNS[name]} {values[name]}" for name in SIGNS if name in values]
        learned = ["learned token weights"] * (values.get("token_weights") == "learned")
        if named + learned:
            objectives.append(f"{objective} {', '.join(named + learned)}")
    parts = [f"{'; '.join(objectives)}: {CONFIG}"] if objectives else []
    named = frame["objective"] + " " + frame["setting"].replace(SIGNS)
    frame["setting"] = frame["setting"].where(~tuned, named)
    sampled = frame["rule"].str.startswith(SUBSAMPLE.partition("{}")[0])
    later = frame[frame["setting"].isin(["epoch", "g"]) | sampled | tuned]
    for (setting, rule), rows in later.groupby(["setting", "rule"], sort=False):
        values = ", ".join(sorted(rows["value"].unique()))
        on = rows["examples"].dropna()
        parts.append(f"{setting} {values}: {rule}" + (f" ({span(on)})" if len(on) else ""))
    return f"{'. '.join(parts)}. Nothing was chosen on the test split."
