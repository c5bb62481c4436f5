"""What was claimed of counterfactual fine-tuning, judged by what this study measured of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from scripts.analyse.claimed import CLAIMS, RELEVANT, Claim, Study
from scripts.evaluate.bootstrap import holm
from scripts.files import read_csv

#: Verdicts.
SUPPORTED, CONTRADICTED, UNDECIDED = "supported", "not supported", "undecided at this size"
NO_GAIN = "no relevant gain"
ONE_SEED = "undecided with one seed"

#: An adjusted p-value from here on decides nothing.
LEVEL = 0.05

#: Standard errors between 0 and an effect that is seen with 80 % chance, two-sided at 5 %; and
#: between an estimate and the end of its 95 % interval.
SEEN, HALF = (float(special.ndtri(0.975) + special.ndtri(0.8)), float(special.ndtri(0.975)))

#: What every measurement brings.
LINE = [
    *("dataset", "backbone", "decoder", "effect", "low", "high", "low_90", "high_90", "p"),
    *("seed_sd", "seeds", "examples", "users"),
]
COLUMNS = [
    *("family", "claim", "source", "measured", "unit", "dataset", "backbone", "decoder"),
    *("effect", "low", "high", "p", "seeds", "examples", "users", "p_holm", "chance", "published"),
    *("detectable", "needed", "verdict"),
]


def verdict(line: Any, claim: Claim) -> str:
    """Supported where the whole 95 % interval lies on the claim's side of the bound, not supported
    where it lies on the other.

    Without a relevant gain where the 90 % interval of a relative gain lies within `RELEVANT`
    percent of 0 (equivalence). Else undecided: also where there is no interval, where the adjusted
    p-value is not below `LEVEL` (of many lines some intervals miss the bound by chance), and with
    one seed: a claim is about what is trained, not about a training's luck.

    Args:
        line: low, high, low_90, high_90, p_holm (NaN where there is none, as of times) and seeds.
        claim: whose line it is.
    """
    if claim.trained and line.seeds < 2:
        return ONE_SEED
    if not line.p_holm >= LEVEL:
        if line.low > claim.bound:
            return SUPPORTED if claim.side == "above" else CONTRADICTED
        if line.high < claim.bound:
            return SUPPORTED if claim.side == "below" else CONTRADICTED
    if line.low_90 > -RELEVANT and line.high_90 < RELEVANT:
        return NO_GAIN
    return UNDECIDED


def standard_error(line: Any) -> float:
    """That of an effect, from its interval as of a normal distribution."""
    return (line.high - line.low) / (2 * HALF)


def above(line: Any, size: float) -> float:
    """Probability that the effect is larger than a size, under a flat prior."""
    error = standard_error(line)
    return float(special.ndtr((line.effect - size) / error)) if error > 0 else np.nan


def chance(line: Any, claim: Claim) -> float:
    """Probability that the effect lies on the claim's side of its bound, see `above`."""
    larger = above(line, claim.bound)
    return larger if claim.side == "above" else 1 - larger


def published(line: Any, claim: Claim) -> str:
    """Whether the interval leaves published effects out, and how probable a larger effect is."""
    parts = []
    for size in claim.published:
        word = "not testable"
        if line.low == line.low and line.high == line.high and line.seeds > 1:
            word = "compatible" if line.low <= size <= line.high else "excluded"
            word += f" (chance of more: {above(line, size):.0%})"
        parts.append(f"{size:+.1f} %: {word}")
    return "; ".join(parts)


def needed(line: Any, claim: Claim) -> str:
    """The examples or seeds with which an undecided line would see, with 80 % chance, the smallest
    published effect or, where there is none, the effect as it was measured; of times nothing."""
    error = standard_error(line)
    wanted = abs(min(claim.published, default=line.effect - claim.bound)) / SEEN
    if line.verdict != UNDECIDED or claim.unit == " ×" or not error > wanted > 0:
        return ""
    # The variance of the seeds, and the rest, which the examples make.
    seeds = 0.0 if np.isnan(line.seed_sd) else line.seed_sd**2
    examples = max(error**2 - seeds / line.seeds, 0.0)
    ways = []
    if seeds / line.seeds < wanted**2:
        ways.append(f"{_times(examples / (wanted**2 - seeds / line.seeds))} the examples")
    if seeds and examples < wanted**2:
        ways.append(f"{int(np.ceil(seeds / (wanted**2 - examples))):,} seeds")
    return " or ".join(ways) or f"{_times((error / wanted) ** 2)} the examples and the seeds"


def _times(factor: float) -> str:
    return "over 1,000 ×" if factor > 1000 else f"{max(factor, 1.1):.{1 if factor < 10 else 0}f} ×"


def claims(
    analyses: list[Path],
    beyond_amazon: list[str],
    grounding: list[str],
    primary: list[str],
    headline: list[str],
) -> pd.DataFrame:
    """Judge every claim that this study measures.

    A claim has one line per data set, backbone and decoder. See `verdict` for the rule. P-values
    are adjusted by Holm's method within a family; the two primary claims are named in advance.

    Args:
        analyses: CSV files named by their analysis; what is not given is not measured.
        beyond_amazon: data sets that are not from Amazon; none in a study that has no others.
        grounding: decoders that ground free text.
        primary: decoders of the primary claims, one that grounds and one that searches.
        headline: data sets whose mean gain is the headline.

    Returns:
        family, claim, source (see `Claim`), measured, unit, dataset, backbone, decoder, effect,
        low, high (95 %; of times, over seeds alone), p (two-sided, against 0), seeds, examples,
        users, p_holm (p adjusted within the family; null where one
        seed allows no verdict), chance (see there), published (words, see
        there), detectable (the smallest effect that such an interval shows with 80 % chance),
        needed (words, see there), verdict.
    """
    study = Study(beyond_amazon, grounding, primary, headline)
    frames = {path.stem: read_csv(path) for path in analyses}
    parts = []
    for number, claim in enumerate(CLAIMS):
        if claim.analysis in frames:
            lines = claim.lines(frames[claim.analysis], study)
            lines = lines.reindex(columns=LINE).dropna(subset="effect")
            lines = lines[lines["seeds"] >= claim.least_seeds]
            rows = [f"{claim.analysis} {index}" for index in lines.index]
            parts.append(lines.assign(number=number, family=claim.family, row=rows))
    frame = pd.concat([part.astype(object) for part in parts if len(part)] or [pd.DataFrame()])
    if frame.empty:
        return pd.DataFrame(columns=COLUMNS)
    frame = frame.reset_index(drop=True)
    numbers = ["effect", "low", "high", "low_90", "high_90", "p", "seed_sd", "seeds"]
    frame[numbers] = frame[numbers].astype(float)
    # Claims on other backbones or data sets share rows with the first ones: each is one test. What
    # can get no verdict, as one seed tells nothing of trainings, is none.
    judged = [CLAIMS[number].trained for number in frame["number"]]
    tests = frame[(frame["seeds"] > 1) | ~np.array(judged)]
    tests = tests.dropna(subset="p").drop_duplicates(["family", "row"])
    tests = tests.assign(p_holm=tests.groupby("family")["p"].transform(holm))
    frame = frame.merge(tests[["family", "row", "p_holm"]], how="left", on=["family", "row"])
    of_row = [CLAIMS[number] for number in frame["number"]]
    for name in ("text", "source", "measured", "unit"):
        column = "claim" if name == "text" else name
        frame[column] = [getattr(claim, name) for claim in of_row]
    for name, of in {
        **{"verdict": verdict, "chance": chance, "published": published},
        **{"detectable": _detectable, "needed": needed},
    }.items():
        frame[name] = [of(*pair) for pair in zip(frame.itertuples(), of_row, strict=True)]
    return frame[COLUMNS]


def _detectable(line: Any, claim: Claim) -> float:
    """The smallest effect that an interval of this width shows with 80 % chance; of times none."""
    return np.nan if claim.unit == " ×" else standard_error(line) * SEEN
