"""Table of the prepared data sets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.command import run
from scripts.files import read_csv
from scripts.labels import Labels
from scripts.tables.format import UNKNOWN, write

#: What the reader looks for first; everything else follows in the order of the file.
FIRST = (
    "interactions",
    "users",
    "items",
    "density",
    "mean_title_words",
    "window.start",
    "window.end",
    "splits.train",
    "splits.valid",
    "splits.test",
)

#: Raw lines, for the log and not for a table.
HIDDEN = {"first_malformed"}


def show(value: object) -> str:
    """Counts with thousands' separators, other numbers with four significant digits."""
    if pd.isna(value):
        return UNKNOWN
    try:
        number = float(str(value))
    except ValueError:
        return str(value)
    return f"{number:,.0f}" if number.is_integer() else f"{number:.4g}"


def statistics(statistics: Path, labels: Labels, output: Path) -> None:
    """Set the data sets' statistics side by side.

    Args:
        statistics: `statistics.csv` of the analyses.
        labels: names to show.
        output: CSV to write; .md and .tex beside it.
    """
    frame = read_csv(statistics)
    frame = frame[~frame["statistic"].isin(HIDDEN)]
    keys = list(frame["statistic"].drop_duplicates())
    keys.sort(key=lambda key: next((i for i, f in enumerate(FIRST) if key.startswith(f)), 99))
    shown = pd.DataFrame({"Statistic": [_name(key) for key in keys]})
    for dataset, rows in frame.groupby("dataset", sort=False):
        values = rows.set_index("statistic")["value"].reindex(keys)
        shown[labels.dataset(dataset)] = [show(value) for value in values]
    notes = [
        "Counted after the filters unless said otherwise; an example is one target with its "
        "history, and the splits are by the target's time. Density is interactions over users × "
        f"items. {UNKNOWN}: not recorded or without a bound."
    ]
    write(shown, output, notes, left=1)


def _name(key: str) -> str:
    return key.removeprefix("splits.").replace(".", ": ").replace("_", " ")


if __name__ == "__main__":
    run(statistics)
