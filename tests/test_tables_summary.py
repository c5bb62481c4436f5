"""Five sentences, right for any table of claims: each number is one of the table."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.cells import ALL
from scripts.labels import Labels
from scripts.tables.claims import DIGITS
from scripts.tables.format import number
from scripts.tables.summary import summary
from tests.tiny_study import as_read

OPEN, ONE_SEED = "undecided at this size", "undecided with one seed"
#: Two trainings of plain and one of cft.
CHOICES = pd.DataFrame(
    [("toy", "tiny", o, n, s) for o, n in (("plain", 0), ("plain", 1), ("cft", 0)) for s in "ab"],
    columns=["dataset", "backbone", "objective", "seed", "setting"],
)
LABELS = Labels(datasets={"toy": "Toy"}, backbones={"tiny": "Tiny"}, decoders={"beam": "search"})
LINE = {
    **{"family": "primary", "claim": "CFT beats it (by much)", "unit": " %", "dataset": "toy"},
    **{"backbone": "tiny", "decoder": "beam", "effect": -5.44, "low": -11.4, "high": 0.82},
    **{"seeds": 2, "examples": 500, "users": 98, "published": "", "detectable": None},
    **{"needed": "", "verdict": OPEN},
}
WHERE = "“CFT beats it” (Toy, search)"
PUBLISHED = "+9.8 %: excluded (chance of more: 1%); +4.0 %: compatible (chance of more: 2%)"
NEEDED = "12 × the examples or 8 seeds"


def sentences(lines: list[dict]) -> list[str]:
    claims = pd.DataFrame(lines, columns=[*LINE])
    rows = summary(as_read(claims), as_read(CHOICES), LABELS).rows
    words = ["run", "found", "excluded", "undecided", "next"]
    assert [topic.split()[-1] for topic in rows["Topic"]] == words
    return list(rows["Sentence"])


def test_a_hand_worked_study() -> None:
    lines = [
        LINE | {"published": PUBLISHED, "detectable": 9.66, "needed": NEEDED},
        LINE | {"family": "robustness", "effect": 77, "seeds": 1, "verdict": ONE_SEED},
        LINE | {"family": "parts", "claim": "A", "verdict": "supported"},
        LINE | {"family": "parts", "claim": "B", "verdict": "no relevant gain"},
        LINE | {"family": "cost", "claim": "C", "users": None, "examples": 9999},
        LINE | {"family": "cost", "claim": "D", "verdict": "not supported"},
    ]
    assert sentences(lines) == [
        "Models trained in the experiments: 3, of Tiny on Toy with plain, cft; seeds: 0, 1; "
        "test examples of each: 500.",
        f"With Tiny, {WHERE}: −5.4 % (95 % interval −11.4 to +0.8), undecided at this size. "
        "Supported are 1 of all 6 lines, not supported 1.",
        f"Excluded are 1 of 2 published sizes: +9.8 % of {WHERE}; a relevant gain is ruled out in "
        "1 of all 6 lines.",
        "Undecided are 3 of all 6 lines (primary 1 of 1, robustness 1 of 1, cost 1 of 2); with "
        f"80 % chance it would have seen an effect of 9.7 % for {WHERE}.",
        f"With Tiny, 12 × the examples or 8 seeds: the least that would decide {WHERE} with 80 % "
        "chance, if it is as large as the smallest published one (so far seeds: 2, examples: 500).",
    ]


def test_the_cheapest_primary_line_is_next() -> None:
    """Eight seeds where there are two are four times as much, which is less than five."""
    lines = [
        LINE | {"needed": "5 × the examples", "decoder": "fourth"},
        LINE | {"needed": "3 × the examples and the seeds", "decoder": "fifth"},
        LINE | {"needed": NEEDED},
        LINE | {"needed": "1.5 × the examples", "decoder": "other"},
        LINE | {"needed": "3 seeds", "family": "parts", "seeds": 3},
        LINE | {"decoder": "third"},
    ]
    assert sentences(lines)[4].startswith("With Tiny, 1.5 × the examples:")
    del lines[3]
    assert sentences(lines)[4].startswith(f"With Tiny, {NEEDED}:")
    # Where every primary line is decided, another one is next.
    decided = [x | {"verdict": "supported"} if x["family"] == "primary" else x for x in lines]
    assert sentences(decided)[4].startswith("With Tiny, 3 seeds: the least that would decide")


@pytest.mark.parametrize(
    ("line", "topic", "expected"),
    [
        (None, 1, "No primary claim was measured. Supported are 0 of all 0 lines, not supported"),
        (None, 2, "Excluded are 0 of 0 published sizes; a relevant gain is ruled out in 0 of all "),
        (None, 4, "Plain and cft, with the same data"),
        ({"verdict": "supported"}, 4, "Nothing that was measured is left"),
        ({}, 4, "More examples and seeds; how many"),
        ({"low": None, "high": None}, 1, f"With Tiny, {WHERE}: −5.4 %, undecided"),
    ],
)
def test_no_more_is_said_than_is_there(line: dict | None, topic: int, expected: str) -> None:
    said = sentences([] if line is None else [LINE | line])
    assert said[topic].startswith(expected)


EFFECT = st.floats(-99, 99)
CASES = {
    "family": ["primary", "parts", "cost"],
    "claim": ["CFT helps (much)", "Weights help"],
    "unit": ["", *DIGITS],
    "dataset": ["toy", "books", ALL],
    "backbone": ["tiny", "big"],
    "decoder": ["beam", ""],
    "seeds": [1, 2, 3],
    "examples": [60, 5000],
    "users": [98, None],
    "published": ["", PUBLISHED, "+9.5 %: not testable"],
    "needed": ["", NEEDED, "over 1,000 × the examples", "1.1 × the examples and the seeds"],
    "verdict": ["supported", "not supported", "no relevant gain", OPEN, ONE_SEED],
}
LINES = st.fixed_dictionaries(
    {name: st.sampled_from(values) for name, values in CASES.items()}
    | {"effect": EFFECT, "low": EFFECT | st.none(), "high": EFFECT | st.none()}
    | {"detectable": st.floats(0, 99) | st.none()}
)


@settings(deadline=None, max_examples=30)
@given(st.lists(LINES, max_size=7))
def test_every_number_is_one_of_the_table(lines: list[dict]) -> None:
    # Of the interval, of the chance, and counts of lines and sizes, which are worked out above.
    known = {"95", "80", *map(str, range(15))}
    for line in lines:
        digits, sign = DIGITS.get(line["unit"], 4), line["unit"] != " ×"
        known |= {number(line[name], digits, sign) for name in ("effect", "low", "high")}
        known |= {number(line["detectable"], digits), str(line["examples"])}
        known |= {*re.findall(r"[+\d.,]*\d", f"{line['published']} {line['needed']}")}
    for text in sentences(lines):
        assert text.endswith(".")
        assert "nan" not in text
        assert {*re.findall(r"[−+]?\d[\d.,]*\d|[−+]?\d", text)} <= known
