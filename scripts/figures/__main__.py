"""A figure as a command: `python -m scripts.figures strata --analysis … --output figure.pdf`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scripts.command import call, run, step_of
from scripts.files import read_csv
from scripts.style import save


def figure(analysis: Path, output: Path, options: dict[str, Any] | None = None) -> None:
    """Save a figure as PDF, SVG and PNG, and what it draws as CSV.

    Args:
        analysis: the CSV file that it draws.
        output: PDF to write; the others beside it.
        options: what the figure takes besides: `labels` and more.
    """
    given = {"labels": {}} | (options or {})
    save(call(step, values=read_csv(analysis), **given), output)


if __name__ == "__main__":
    step = step_of("scripts.figures", sys.argv[1:2])
    run(figure, words=sys.argv[2:])
