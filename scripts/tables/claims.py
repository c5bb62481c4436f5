"""Table of claims: what was claimed, what this study measured, and whether it holds."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scripts.analyse.claimed import RELEVANT
from scripts.labels import Labels
from scripts.rows import UNKNOWN
from scripts.tables.format import INTERVALS, Table, number, sample

#: Decimals of an effect by its unit; of accuracy where there is none.
DIGITS = {" %": 1, " nats": 3, " ×": 2}


def claims(claims: pd.DataFrame, labels: Labels) -> Table:
    """Show every claim that was measured, with its lines."""
    rows = [
        {
            "Claim": line.claim,
            "Data set": labels.dataset(line.dataset) or UNKNOWN,
            "Backbone": labels.block(line.backbone) or UNKNOWN,
            "Decoder": labels.decoder(line.decoder) or UNKNOWN,
            "Effect": _effect(line),
            "Verdict": line.verdict,
            "Published effect": line.published or UNKNOWN,
            "Would decide": line.needed or UNKNOWN,
            "p": number(line.p_holm, 3),
            "Chance": UNKNOWN if pd.isna(line.chance) else f"{line.chance:.0%}",
            "Detectable": detectable(line),
            "Seeds": number(line.seeds, 0),
            "Family": line.family,
            "From": line.source,
            "Measured": line.measured,
        }
        for line in claims.itertuples()
    ]
    notes = [
        sample(claims.dropna(subset=["examples", "users"])),
        "Verdict: supported where the whole interval of the effect lies on the claim's side of its "
        "bound (0, unless the claim names another), not supported where it lies on the other side; "
        f"no relevant gain where the 90 % interval lies within ±{RELEVANT:g} %; undecided where "
        "the interval holds the bound or there is none, where p is 0.05 or more, and with one "
        f"seed. {INTERVALS} The spread between seeds is taken to be the same for all objectives of "
        "a data set, backbone and decoder. Of times, the effect is the geometric mean over seeds "
        "and the interval Student's of their logarithms; times of a crowded machine are not shown.",
        "p: two-sided against 0, adjusted by Holm's method within a family; the two primary claims "
        "were named in advance, as the mean over the headline's data sets with the first decoder "
        "of each kind. Chance: that the effect lies on the claim's side, under a flat prior. "
        "Published effect: excluded where the 95 % interval leaves it out; first the paper's, then "
        "that of its group's later re-run, both quoted from outside and not measured here. "
        "Detectable: the smallest effect that such an interval shows with 80 % chance. Would "
        "decide: what would show the smallest published effect, or else the effect as measured, "
        "with that chance.",
        "From paper: what the paper is known to claim; paper's analyses: a question that it "
        "analyses, with the answer in favour of CFT, as the paper's own is not known here; "
        "readers: what its readers asked. A claim that this study does not measure is not listed.",
    ]
    if not rows:
        return Table(pd.DataFrame({"Claim": ["This study measures none."]}), [], left=1)
    return Table(pd.DataFrame(rows), notes, left=4)


def _effect(line: Any) -> str:
    """`value unit [low, high]`."""
    value, low, high = effect(line)
    return value if pd.isna(line.low) else f"{value} [{low}, {high}]"


def effect(line: Any) -> tuple[str, str, str]:
    """An effect with its unit and the ends of its interval, signed where its bound is 0."""
    digits, signed = DIGITS.get(line.unit, 4), line.unit != " ×"
    value, low, high = (number(one, digits, signed) for one in (line.effect, line.low, line.high))
    return value + line.unit, low, high


def detectable(line: Any) -> str:
    """The smallest effect that an interval as wide shows, with its unit."""
    size = number(line.detectable, DIGITS.get(line.unit, 4))
    return size if size == UNKNOWN else size + line.unit
