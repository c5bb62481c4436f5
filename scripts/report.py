"""One self-contained HTML page with every table and figure of a study."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from scripts.command import InputError, run
from scripts.files import write_text


class Table(NamedTuple):
    """A table as the page shows it."""

    header: list[str]
    """Names of the columns."""
    rows: list[list[tuple[str, bool]]]
    """Text of every cell, and whether it is bold."""
    notes: list[str]
    """Paragraphs below the table."""


def _text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def paragraphs(text: str) -> list[str]:
    """The paragraphs of a plain text, each on one line."""
    return [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]


def _unescape(text: str) -> str:
    return re.sub(r"\\([\\|*])", r"\1", text).replace("&lt;", "<")


def parse_table(text: str) -> Table:
    """Read a table back from the Markdown that `scripts.tables.format` writes."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [re.split(r"(?<!\\) \| ", line[2:-2]) for line in lines]
    rows = []
    for row in cells[2:]:
        bold = [cell.startswith("**") and cell.endswith("**") and len(cell) > 4 for cell in row]
        rows.append([(_unescape(c[2:-2] if b else c), b) for c, b in zip(row, bold, strict=True)])
    below = "\n".join(line for line in text.splitlines() if not line.startswith("| "))
    return Table([_unescape(c) for c in cells[0]], rows, [_unescape(n) for n in paragraphs(below)])


def _entry(path: Path, kind: str, captions: Path, endings: list[str]) -> dict[str, Any]:
    """What tables and figures have in common: title, anchor, caption and file names."""
    return {
        "title": path.stem.replace("_", " ").replace("-", " ").capitalize(),
        "anchor": f"{kind}-{path.stem}",
        "caption": paragraphs(_text(captions / f"{kind}_{path.stem}.rst")),
        "files": [path.with_suffix(ending).name for ending in endings],
    }


def report(
    study: str,
    tables: list[Path],
    figures: list[Path],
    captions: Path,
    output: Path,
) -> None:
    """Gather tables, figures and captions in one HTML file that loads nothing from elsewhere.

    Args:
        study: name of the study.
        tables: `<name>.md`, in the order of the page.
        figures: `<name>.svg`, in the order of the page.
        captions: folder of `table_<name>.rst` and `figure_<name>.rst`, plain paragraphs.
        output: HTML to write.
    """
    shown_tables = [
        _entry(path, "table", captions, [".csv", ".md", ".tex"])
        | {"table": parse_table(_text(path.with_suffix(".md")))}
        for path in tables
    ]
    shown_figures = [
        _entry(path, "figure", captions, [".pdf", ".svg", ".png", ".csv"])
        | {"svg": base64.b64encode(_text(path.with_suffix(".svg")).encode()).decode()}
        for path in figures
    ]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(
        study=study,
        tables=shown_tables,
        figures=shown_figures,
    )
    write_text(page + "\n", output)


if __name__ == "__main__":
    run(report)
