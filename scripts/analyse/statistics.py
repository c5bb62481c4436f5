"""The statistics of the prepared data sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from scripts.command import run
from scripts.files import read_json, write_csv


def flatten(value: Any, key: str = "") -> dict[str, Any]:
    """Nested JSON as one level: keys joined by dots, lists as their values joined by commas."""
    if isinstance(value, dict):
        flat: dict[str, Any] = {}
        for name, inner in value.items():
            flat |= flatten(inner, f"{key}.{name}" if key else name)
        return flat
    if isinstance(value, list):
        return {key: ", ".join(str(item) for item in value)}
    return {key: value}


def statistics(preparations: list[Path], output: Path) -> None:
    """Gather what the preparation of every data set counted.

    Args:
        preparations: `<dataset>/preparation.json` of every data set.
        output: CSV to write: dataset, statistic, value.
    """
    rows = [
        {"dataset": path.parent.name, "statistic": key, "value": value}
        for path in preparations
        for key, value in flatten(read_json(path)).items()
    ]
    write_csv(pd.DataFrame(rows, columns=["dataset", "statistic", "value"], dtype=object), output)


if __name__ == "__main__":
    run(statistics)
