"""Table of the case study."""

from __future__ import annotations

import pandas as pd

from scripts.labels import Labels
from scripts.tables.format import Table, sample

#: Longest title that is shown whole.
WIDTH = 30

RULE = (
    "Row target: the title that the user chose next, and its rank in each list. Below it: the "
    "latest titles of the history and the first titles of each list, the target in bold. The cases "
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
    """Set the history of each case beside the first titles of every list, the target in bold."""
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
