"""What every table of measurements says of its models: where they ran, and how their settings came
about."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.analyse.choices import CONFIG, SUBSAMPLE
from scripts.files import read_csv
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
    for objective, rows in frame.groupby("objective", sort=False):
        values = dict(zip(rows["setting"], rows["value"], strict=True))
        weights = f"β {values['beta']}" if "beta" in values else "learned token weights"
        objectives.append(f"{objective} α {values['alpha']}, {weights}")
    parts = [f"{'; '.join(objectives)}: {CONFIG}"]
    sampled = frame["rule"].str.startswith(SUBSAMPLE.partition("{}")[0])
    later = frame[frame["setting"].isin(["epoch", "g"]) | sampled]
    for (setting, rule), rows in later.groupby(["setting", "rule"], sort=False):
        values = ", ".join(sorted(rows["value"].unique()))
        on = rows["examples"].dropna()
        parts.append(f"{setting} {values}: {rule}" + (f" ({span(on)})" if len(on) else ""))
    return f"{'. '.join(parts)}. Nothing was chosen on the test split."
