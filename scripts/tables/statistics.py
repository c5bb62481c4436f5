"""Table of the prepared data sets, beside what others have published of them."""

from __future__ import annotations

import pandas as pd

from scripts.contracts import SPLITS
from scripts.data.settings import Published
from scripts.labels import Labels
from scripts.rows import UNKNOWN
from scripts.tables.format import Table

#: Where a statistic stands, by the beginning of its key, in the order of the table; what begins
#: with none of these counts raw lines.
GROUPS = {
    **dict.fromkeys(["interactions", "users", "items", "density"], "prepared"),
    **dict.fromkeys(["items_that_share_a_title", "titles_of_several_items"], "prepared"),
    **dict.fromkeys(["tied_steps", "window", "history_length", "earlier_interactions"], "prepared"),
    **dict.fromkeys(["title_words", "title_tokens"], "prepared"),
    **{f"splits.{split}": split for split in SPLITS},
    **{"dropped_reviews": "dropped reviews", "dropped_items": "dropped items"},
}
RAW = "raw"

#: A reason for which nothing fell out is not recorded.
COUNTED = ("dropped reviews", "dropped items")
MALFORMED = "lines: malformed"

#: Raw lines, checksums and details, for the CSV of the analysis and not for a table; and what is 0
#: by definition.
HIDDEN = (
    *("tied_steps.in_order_of", "first_malformed", "raw_sha256", "splits.train.cold_targets"),
    "splits.train.users_without_training_example",
)

#: Summaries of lengths: mean, median, 95th percentile and maximum share a cell.
LENGTHS = ("history_length", "earlier_interactions", "title_words", "title_tokens")

#: What is counted of a backbone's title tokens beside their lengths.
TITLE_COUNTS = {
    "too_long": "titles too long for training.max_tokens",
    "sharing_tokens": "titles that share their tokens with another",
}

#: What comes first where keys begin alike.
LEADING = ("start", "examples", "users", "read", "mean", "median", "p95", "max")

#: Counts that are shown with their share of another one of the same split.
SHARES = {
    **{"cold_targets": "examples", "tied_targets": "examples", "targets_in_history": "examples"},
    "users_without_training_example": "users",
}

#: Statistics that may be published, by the name of the configuration.
PUBLISHED = {
    **{name: name for name in ("interactions", "users", "items")},
    **{split: f"splits.{split}.examples" for split in SPLITS},
    "start": "window.start",
}


def statistics(statistics: pd.DataFrame, labels: Labels, published: dict[str, Published]) -> Table:
    """Set the data sets' statistics side by side, and beside what is published of some of them."""
    frame = statistics[~statistics["statistic"].str.startswith(HIDDEN)]
    ours = {
        name: rows.set_index("statistic")["value"].to_dict()
        for name, rows in frame.groupby("dataset", sort=False)
    }
    columns = {name: cells(values, labels) for name, values in ours.items()}
    notes = [
        "Counted after the filters unless said otherwise; an example is one target with its "
        "history, and the splits are by the target's time. Density is interactions over users × "
        "items. Lengths are mean / median / 95th percentile / maximum: histories in items, as the "
        "examples hold them and before they were cut, and titles of the catalogue, whose tokens "
        "count the quotes and the end-of-sequence of an answer. A cold target is the target of "
        "no training example. A tied target has the same time as its user's item before it: the "
        "order of the two is that of the file, or drawn, and tells nothing of taste, above all "
        f"where the file is sorted by item or title. {UNKNOWN}: not recorded, not published, or a "
        "window without a bound."
    ]
    for name, reference in published.items():
        columns[name] |= comparison(ours[name], reference)
        notes.append(f"{labels.dataset(name)}: {verdict(ours[name], reference)}")
    if published:
        notes.append(
            "Rows of the group ‘published’ are others' numbers and no results of this study; a "
            "difference is ours − theirs."
        )
    rows = list(dict.fromkeys(row for column in columns.values() for row in column))
    groups = [*dict.fromkeys(GROUPS.values()), RAW, "published", "difference"]
    rows.sort(key=lambda row: groups.index(row[0]))
    shown = pd.DataFrame(rows, columns=["Group", "Statistic"])
    for name, column in columns.items():
        label = labels.dataset(name)
        shown[f"{label} (data set)" if label in shown else label] = [
            column.get(row, "0" if row[0] in COUNTED or row[1].startswith(MALFORMED) else UNKNOWN)
            for row in rows
        ]
    return Table(shown, notes, left=2)


def cells(values: dict[str, str], labels: Labels) -> dict[tuple[str, str], str]:
    """The cells of a data set by group and name, those of a group in their order."""
    prefixes = [*GROUPS, ""]
    places = {
        key: next(p for p in prefixes if f"{key}.".startswith(f"{p}.") or not p) for key in values
    }
    column: dict[tuple[str, str], str] = {}

    def order(key: str) -> tuple[int, int]:
        last = key.rsplit(".", 1)[-1]
        return prefixes.index(places[key]), (*LEADING, last).index(last)

    for key in sorted(values, key=order):
        place, text = places[key], show(values[key])
        *above, last = key.split(".")
        if place.startswith("splits") and last in SHARES:
            text += share(float(values[key]), float(values[f"{place}.{SHARES[last]}"]))
        if place == "title_tokens":
            what = TITLE_COUNTS.get(last, "title tokens")
            name = f"{what}, {labels.block('.'.join(above[1:]))}"
        elif place in LENGTHS:
            name = readable(place)
        else:
            name = readable(
                key if GROUPS.get(place) == "prepared" else key.removeprefix(f"{place}.")
            )
        row = (GROUPS.get(place, RAW), name)
        column[row] = f"{column[row]} / {text}" if row in column else text
    if not any(name.startswith(MALFORMED) for _, name in column):
        column[RAW, MALFORMED] = "0"
    return column


def comparison(values: dict[str, str], published: Published) -> dict[tuple[str, str], str]:
    """The cells of what is published of a data set, and of the differences from it."""
    column = {}
    for name, key in PUBLISHED.items():
        if (theirs := getattr(published, name)) is not None:
            row = readable(key.removeprefix("splits."))
            column["published", row] = show(theirs)
            column["difference", row] = difference(values.get(key), theirs)
    return column


def difference(ours: object, theirs: int | str) -> str:
    """Ours − theirs: of a count with its share of theirs, of a month in months; `0` if equal."""
    if pd.isna(ours):
        return "no bound" if isinstance(theirs, str) else UNKNOWN
    if isinstance(theirs, str):
        mine, other = (int(text[:4]) * 12 + int(text[5:]) for text in (str(ours), theirs))
        text = f"{mine - other:+d} months"
    else:
        mine, other = int(float(str(ours))), theirs
        text = f"{mine - other:+,d} ({mine / other - 1:+.2%})".replace("%", " %")
    return text.replace("-", "−") if mine != other else "0"


def verdict(values: dict[str, str], published: Published) -> str:
    """Where ours and the published numbers agree, where they differ, and why, as far as known."""
    found = {
        statistic: text
        for (group, statistic), text in comparison(values, published).items()
        if group == "difference"
    }
    same = [statistic for statistic, text in found.items() if text == "0"]
    missing = [statistic for statistic, text in found.items() if text == UNKNOWN]
    other = [statistic for statistic in found if statistic not in same + missing]
    parts = [f"published numbers: {published.source}."]
    if same:
        parts.append(f"{'Agree' if other or missing else 'All agree'} exactly: {', '.join(same)}.")
    if other:
        reasons = []
        start = values.get(PUBLISHED["start"])
        if published.start is not None and start != published.start:
            ours = "has no start" if pd.isna(start) else f"starts in {start}"
            reasons.append(f"our window {ours}, the published one starts in {published.start}")
        reasons += [published.note] if published.note else []
        parts.append(
            f"Differ: {', '.join(other)}. Why: {'; '.join(reasons) or 'reason not known'}."
        )
    if missing:
        parts.append(f"Not known for ours: {', '.join(missing)}.")
    return " ".join(parts)


def readable(key: str) -> str:
    """A key in words."""
    return key.replace(".", ": ").replace("_", " ")


def share(part: float, whole: float) -> str:
    """A share in brackets, nothing where there is no whole."""
    return f" ({100 * part / whole:.1f} %)" if whole else ""


def show(value: object) -> str:
    """Counts with thousands' separators, other numbers with four significant digits."""
    if pd.isna(value):
        return UNKNOWN
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return f"{number:,.0f}" if number.is_integer() else f"{number:.4g}"
