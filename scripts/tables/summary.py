"""Summary of a study: five sentences, written from its table of claims by fixed rules."""

from __future__ import annotations

import math
import re
from typing import Any

import pandas as pd

from scripts.analyse.claims import CONTRADICTED, NO_GAIN, SUPPORTED
from scripts.cells import ALL
from scripts.labels import Labels
from scripts.rows import span
from scripts.tables.claims import detectable, effect
from scripts.tables.format import Table, number


def summary(claims: pd.DataFrame, choices: pd.DataFrame, labels: Labels) -> Table:
    """Say what was run, found, excluded, left undecided, and what to run next.

    Effects are those of the primary claims; lines are counted over all claims.
    """
    primary = claims[claims["family"] == "primary"]
    sentences = {
        "What was run": _run(claims, choices, labels),
        "What was found": _found(claims, primary, labels),
        "What is excluded": _excluded(claims, primary, labels),
        "What is undecided": _undecided(claims, primary, labels),
        "What to run next": _next(claims, primary, labels),
    }
    rows = pd.DataFrame(list(sentences.items()), columns=["Topic", "Sentence"])
    return Table(rows, [], left=2)


def _run(claims: pd.DataFrame, choices: pd.DataFrame, labels: Labels) -> str:
    show = {"dataset": labels.dataset, "backbone": labels.block, "objective": str, "seed": str}
    names = {key: ", ".join(map(name, choices[key].unique())) for key, name in show.items()}
    # Times have no users, and a claim may take fewer examples than the study has.
    tested = claims[claims["users"].notna() & (claims["dataset"] != ALL)]
    examples = tested.groupby(["dataset", "backbone"])["examples"].max()
    return (
        f"Models trained in the experiments: {len(choices.drop_duplicates([*show]))}, of "
        f"{names['backbone']} on {names['dataset']} with {names['objective']}; "
        f"seeds: {names['seed']}; test examples of each: {span(examples)}."
    )


def _found(claims: pd.DataFrame, lines: pd.DataFrame, labels: Labels) -> str:
    parts = [
        f"{_where(line, labels)}: {_effect(line)}, {line.verdict}" for line in lines.itertuples()
    ]
    text = "No primary claim was measured"
    if parts:
        text = f"With {labels.block(lines['backbone'].iloc[0])}, {'; '.join(parts)}"
    held, failed = ((claims["verdict"] == name).sum() for name in (SUPPORTED, CONTRADICTED))
    return f"{text}. Supported are {held} of all {len(claims)} lines, not supported {failed}."


def _excluded(claims: pd.DataFrame, lines: pd.DataFrame, labels: Labels) -> str:
    sizes = [
        (*size.split(": ", 1), _where(line, labels))
        for line in lines[lines["published"] != ""].itertuples()
        for size in line.published.split("; ")
    ]
    excluded = [f"{size} of {where}" for size, word, where in sizes if word.startswith("excluded")]
    no_gain = (claims["verdict"] == NO_GAIN).sum()
    return (
        f"Excluded are {len(excluded)} of {len(sizes)} published sizes"
        f"{': ' * bool(excluded)}{', '.join(excluded)}; "
        f"a relevant gain is ruled out in {no_gain} of all {len(claims)} lines."
    )


def _undecided(claims: pd.DataFrame, lines: pd.DataFrame, labels: Labels) -> str:
    families = _is_undecided(claims).groupby(claims["family"], sort=False).agg(["sum", "count"])
    shares = ", ".join(f"{name} {n} of {of}" for name, n, of in families.itertuples() if n)
    parts = [
        f"{detectable(line)} for {_where(line, labels)}"
        for line in lines[_is_undecided(lines) & lines["detectable"].notna()].itertuples()
    ]
    least = f"; with 80 % chance it would have seen an effect of {', '.join(parts)}"
    return (
        f"Undecided are {_is_undecided(claims).sum()} of all {len(claims)} lines"
        f"{f' ({shares})' if shares else ''}{least if parts else ''}."
    )


def _next(claims: pd.DataFrame, primary: pd.DataFrame, labels: Labels) -> str:
    for lines in (primary, claims):
        lines = lines[_is_undecided(lines) & (lines["needed"] != "")]
        if len(lines):
            line = min(lines.itertuples(), key=_times)
            stays = f"its effect stays {effect(line)[0]}"
            return (
                f"With {labels.block(line.backbone)}, {line.needed}: the least that would decide "
                f"{_where(line, labels)} with 80 % chance, if "
                f"{'it is as large as the smallest published one' if line.published else stays} "
                f"(so far seeds: {number(line.seeds, 0)}, examples: {number(line.examples, 0)})."
            )
    if primary.empty:
        return "Plain and cft, with the same data, decoder and seeds: they decide a primary claim."
    if _is_undecided(claims).any():
        return "More examples and seeds; how many would decide a claim could not be estimated."
    return "Nothing that was measured is left undecided."


def _times(line: Any) -> float:
    """How many times its own examples or seeds a line needs, whichever is less; of both, how many
    times both."""
    needs = re.findall(r"([\d.,]*\d) (×|seeds)", line.needed)
    own = {"×": 1, "seeds": line.seeds}
    times = min((float(n.replace(",", "")) / own[what] for n, what in needs), default=math.inf)
    return times**2 if " and " in line.needed else times


def _is_undecided(lines: pd.DataFrame) -> pd.Series:
    return lines["verdict"].str.startswith("undecided").astype(bool)


def _where(line: Any, labels: Labels) -> str:
    """A claim, without what it has in brackets; behind it, data set and decoder of a line."""
    names = labels.dataset(line.dataset), labels.decoder(line.decoder)
    return f"“{line.claim.partition(' (')[0]}” ({', '.join(filter(None, names))})"


def _effect(line: Any) -> str:
    """An effect, and its interval in words."""
    value, low, high = effect(line)
    known = pd.notna(line.low) and pd.notna(line.high)
    return f"{value} (95 % interval {low} to {high})" if known else value
