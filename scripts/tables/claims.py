"""Table of claims: what was claimed, what this study measured, and whether it holds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scripts.analyse.claims import LEAST_SEEDS
from scripts.analyse.headline import ALL
from scripts.labels import Labels
from scripts.rows import UNKNOWN
from scripts.tables.format import INTERVALS, Table, number, sample

#: Decimals of an effect by its unit; of accuracy where there is none.
DIGITS = {" %": 1, " nats": 3, " ×": 2}


def claims(claims: pd.DataFrame, labels: Labels) -> Table:
    """Show every claim with its lines and, where there are several, a count of their verdicts."""
    frame = claims.fillna({"unit": ""})
    rows = []
    for (claim, source), lines in frame.groupby(["claim", "source"], sort=False):
        for line in lines.itertuples():
            rows.append(
                {
                    "Claim": claim,
                    "From": source,
                    "Measured": line.measured,
                    "Data set": labels.dataset(line.dataset) or UNKNOWN,
                    "Backbone": labels.block(line.backbone) or UNKNOWN,
                    "Decoder": labels.decoder(line.decoder) or UNKNOWN,
                    "Seeds": number(line.seeds, 0),
                    "Effect": _effect(line),
                    "p": number(line.p_holm, 3),
                    "Verdict": line.verdict,
                }
            )
        single = lines[lines["dataset"] != ALL]
        if len(single) > 1:
            counts = single["verdict"].value_counts(sort=False)
            tally = "; ".join(f"{name}: {count}" for name, count in counts.items())
            empty = dict.fromkeys(("Backbone", "Decoder", "Seeds", "Effect", "p"), UNKNOWN)
            same = {name: rows[-1][name] for name in ("Claim", "From", "Measured")}
            rows.append(same | {"Data set": "(each of them)"} | empty | {"Verdict": tally})
    measured = frame.dropna(subset=["examples", "users"])
    notes = [
        sample(measured),
        "Verdict: supported where the whole interval of the effect lies on the claim's side of its "
        "bound (0, unless the claim names another), not supported where it lies on the other side, "
        "undecided where it holds the bound or there is none, where p is 0.05 or more, and with "
        f"fewer than {LEAST_SEEDS} seeds, which cannot tell an objective from the luck of its "
        f"trainings. {INTERVALS} Of times, the effect is the geometric mean over seeds and the "
        "interval Student's of their logarithms; there is none where processes had to wait for "
        "each other.",
        "p: two-sided against 0, adjusted by Holm's method over all lines of this table; times "
        "have none. From paper: what the paper is known to claim; paper's analyses: a question "
        "that it analyses, with the answer in favour of CFT, as the paper's own is not known here; "
        "readers: what its readers asked. Percentages of the paper are quoted from outside and "
        "were not measured here.",
    ]
    return Table(pd.DataFrame(rows), notes, left=6)


def _effect(line: Any) -> str:
    """`value unit [low, high]`, signed where the bound is 0."""
    digits, signed = DIGITS.get(line.unit, 4), line.unit != " ×"
    if pd.isna(line.effect):
        return UNKNOWN
    value = number(line.effect, digits, signed) + line.unit
    if pd.isna(line.low):
        return value
    return f"{value} [{number(line.low, digits, signed)}, {number(line.high, digits, signed)}]"
