"""A table as a command: `python -m scripts.tables ablation --analyses … --output table.csv`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scripts.command import call, run, step_of
from scripts.files import read_csv
from scripts.tables.format import write


def table(analyses: list[Path], output: Path, options: dict[str, Any] | None = None) -> None:
    """Write a table as CSV, Markdown, LaTeX and JSON.

    Args:
        analyses: the CSV files that it stands on, named by their analysis.
        output: CSV to write; the others beside it.
        options: what the table takes besides: `labels` and more.
    """
    frames = {path.stem: read_csv(path) for path in analyses}
    provenance = frames.pop("provenance", None)
    given = {"labels": {}} | (options or {})
    write(call(step, **frames, **given), provenance, output)


if __name__ == "__main__":
    step = step_of("scripts.tables", sys.argv[1:2])
    run(table, words=sys.argv[2:])
