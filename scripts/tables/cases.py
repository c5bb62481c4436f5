"""The case study: as a table of models' lists, and whole for the report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scripts.analyse.cases import BASELINE, TOKENS
from scripts.labels import Labels, one_line
from scripts.tables.format import Table, number, sample

#: Longest title that the table shows whole, and the titles that it shows of each list.
WIDTH, TOP = 30, 5

RULE = (
    "Target: the title that the user chose next, with its rank in each list, and in bold where it "
    "is shown. Shown are the latest titles of the history and the first of each list. The cases "
    "follow a rule: the examples whose target moves up most and down most from the first list to "
    "the second, the (lower) median move, and one drawn with equal chances. A target that is not "
    "listed counts as just beyond the lists; ties go to the earlier example. In brackets: "
    "example_id."
)

#: What is known of an example, and the column that shows it.
HISTORY, TARGET = "history", "target"
HISTORY_LABEL = "History, latest first"
#: Objectives are columns, too; none can have this name.
CASE = "Case (example)"


def shortened(title: str, width: int = WIDTH) -> str:
    """A title of at most `width` characters, with an ellipsis where it was cut."""
    title = " ".join(title.split())
    return title if len(title) <= width else f"{title[: width - 1].rstrip()}…"


def cases(cases: pd.DataFrame, labels: Labels) -> Table:
    """Set the history of each case beside the first titles of models' lists, the target in bold."""
    beside = cases["list"].str.endswith((f", {BASELINE}", f", {TOKENS}"))
    cases = cases[~beside & (cases["position"] <= TOP)]
    rows, bold = [], set()
    for (case, example), rest in cases.groupby(["case", "example_id"], sort=False):
        row = {CASE: f"{case} ({example})"}
        target = rest[rest["list"] == TARGET].iloc[0]
        lists = {HISTORY_LABEL: rest[rest["list"] == HISTORY]}
        for name, listed in rest.groupby("list", sort=False):
            if name not in (HISTORY, TARGET):
                lists[_label(name)] = listed
        bold.add((len(rows), HISTORY_LABEL))
        heads = {HISTORY_LABEL: shortened(target["title"])}
        heads |= {c: _rank(listed.iloc[0]) for c, listed in lists.items() if c != HISTORY_LABEL}
        rows.append(row | {"#": TARGET} | heads)
        for position in range(1, int(rest["position"].max()) + 1):
            texts = {}
            for column, listed in lists.items():
                for entry in listed[listed["position"] == position].to_dict("records"):
                    texts[column] = shortened(entry["title"])
                    if entry["is_target"]:
                        bold.add((len(rows), column))
            rows.append(row | {"#": f"{position}"} | texts)
    notes = [_sample(cases, labels), RULE] if rows else []
    return Table(pd.DataFrame(rows), notes, left=len(rows[0]) if rows else 1, bold=bold)


def examples(cases: pd.DataFrame, baselines: dict[str, str]) -> list[dict[str, Any]]:
    """The cases as a page shows them, titles whole.

    Args:
        cases: the analysis.
        baselines: name in the configuration -> name to show.

    Returns:
        of each case its name, example_id, target (title), lists (name, rank of the target, titles,
        each with whether it is the target; first the history, without a rank) and tokens (header
        and rows of cells).
    """
    found = []
    for (case, example), rest in cases.groupby(["case", "example_id"], sort=False):
        one = {"case": case, "example_id": example, "lists": []}
        tokens = {}
        for name, listed in rest.groupby("list", sort=False):
            who, _, kind = name.partition(", ")
            titles = [*zip(listed["title"].map(one_line), listed["is_target"], strict=True)]
            if kind == TOKENS:
                tokens[who] = listed
            elif name == TARGET:
                one["target"] = titles[0][0]
            else:
                shown, rank = HISTORY_LABEL, ""
                if name != HISTORY:
                    shown = baselines[who] if kind == BASELINE else _label(name)
                    rank = _rank(listed.iloc[0])
                one["lists"].append({"name": shown, "rank": rank, "titles": titles})
        found.append(one | {"tokens": _tokens(tokens)})
    return found


def _tokens(effects: dict[str, pd.DataFrame]) -> dict[str, Any]:
    """The log-probabilities of the target's tokens by objective, and their sums."""
    columns, names = {}, ["with_history", "without_history"]
    for objective, rows in effects.items():
        known, unknown = (np.array([*rows[name], rows[name].sum()]) for name in names)
        for name, values in {"with": known, "without": unknown, "effect": known - unknown}.items():
            # None is −0.00.
            shown = [number(value, 2, sign=name == "effect") for value in values.round(2) + 0.0]
            columns[f"{objective}, {name}"] = shown
    tokens = next(iter(effects.values()))["token"].map(one_line)
    rows = zip([*tokens, "sum"], *columns.values(), strict=True)
    return {
        "header": ["Token", *columns],
        "rows": [[{"text": text, "bold": False} for text in row] for row in rows],
    }


def _sample(cases: pd.DataFrame, labels: Labels) -> str:
    """Whose lists these are, and what the cases are chosen from."""
    first = cases.iloc[0]
    names = (
        labels.dataset(first["dataset"]),
        labels.block(first["backbone"]),
        labels.decoder(first["decoder"]),
    )
    return f"{', '.join(names)}; cases chosen from {sample(cases.head(1))}"


def _label(name: str) -> str:
    """Name of a list such as `cft, without`."""
    objective, history = name.split(", ")
    return objective if history == "with" else f"{objective}, {history} history"


def _rank(entry: pd.Series) -> str:
    """Rank of the target in a list."""
    rank = entry["target_rank"]
    return f"beyond {entry['depth']:.0f}" if pd.isna(rank) else f"rank {rank:.0f}"
