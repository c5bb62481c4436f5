"""A finished table in three formats: CSV, Markdown and LaTeX with booktabs."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from scripts.command import InputError
from scripts.files import write_csv, write_json, write_text
from scripts.labels import Labels, one_line
from scripts.rows import UNKNOWN, listed, span

#: The plain reading of an interval, for every table of differences.
UNDECIDED = "A difference whose interval holds 0 is undecided at this size."

#: What an interval of `cluster_bootstrap`, `widened`, is over.
INTERVALS = (
    "95 % intervals draw users and, crossed with them, seeds with replacement, and are as wide as "
    "so few seeds require (Student's t, Satterthwaite's degrees of freedom); with one seed they "
    "say nothing of other trainings, and with two they can still be too narrow. An interval "
    "without width is of examples that are all alike, such as no hit at all, and tells nothing."
)

#: Where a table's p-values come from.
P_VALUES = (
    "p: two-sided, from the same draws, adjusted by Holm's method over all comparisons of this "
    "kind in the study: judge many rows at once by p, a single one by its interval."
)

#: How to read the differences of a table.
DIFFERENCES = f"{INTERVALS} {P_VALUES} {UNDECIDED}"

#: A cell of more characters is a sentence.
SENTENCE = 50

#: A LaTeX table of rows with more characters would be too small to read on a page: its cells are
#: stacked, and its column names broken at this many characters.
WIDE, NAME_WIDTH = 120, 12

#: Where a cell of a wide LaTeX table is broken: before an interval and before a p-value.
_BREAKS = re.compile(r" (?=\[[−+\d.]+, [−+\d.]+\])|; (?=p )")

#: What a spreadsheet would run: a signed number alone is none.
_FORMULA = re.compile(r"[=@＝＠]|[-+＋－].*(\w\(|[|!])")

_COMMANDS = {
    **{"\\": "textbackslash", "`": "textasciigrave", "~": "textasciitilde", "^": "textasciicircum"},
    **{"<": "textless", ">": "textgreater", "|": "textbar", "–": "textendash"},
}
_MATHS = {"±": r"\pm", "−": "-", "Δ": r"\Delta", "α": r"\alpha", "β": r"\beta", "×": r"\times"}
_LATEX = (
    {sign: f"\\{sign}" for sign in "&%$#_{}"}
    | {sign: rf"\{name}{{}}" for sign, name in _COMMANDS.items()}
    | {sign: f"${source}$" for sign, source in _MATHS.items()}
    | {"\0": "{}"}
)


class Table(NamedTuple):
    """A finished table."""

    rows: pd.DataFrame
    """The cells as they are shown, all text; column names are unique."""
    notes: list[str]
    """What stands below it (examples, seeds, meaning of ± and [ ]); empty ones are left out."""
    left: int
    """Number of leading columns that name the row."""
    bold: set[tuple[int, str]] = set()
    """(row number, column) of the cells in bold; the CSV is without."""


def number(value: float | None, digits: int = 4, sign: bool = False) -> str:
    """A number with fixed decimals and a real minus, `UNKNOWN` for a missing one."""
    if value is None or math.isnan(value):
        return UNKNOWN
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "−")


def with_sd(value: float, sd: float, digits: int = 4) -> str:
    """`value ± sd`, without the sd where there is one seed alone."""
    text = number(value, digits)
    return text if math.isnan(value) or math.isnan(sd) else f"{text} ± {number(sd, digits)}"


def with_interval(
    value: float, low: float, high: float, digits: int = 4, sign: bool = False
) -> str:
    """`value [low, high]`."""
    if math.isnan(value):
        return UNKNOWN
    interval = ", ".join(number(end, digits, sign) for end in (low, high))
    return f"{number(value, digits, sign)} [{interval}]"


def with_p(difference: float, low: float, high: float, p: float, digits: int = 4) -> str:
    """`difference [low, high]; p 0.042`, signed."""
    if math.isnan(difference):
        return UNKNOWN
    return f"{with_interval(difference, low, high, digits, sign=True)}; {p_text(p)}"


def p_text(p: float) -> str:
    """`p 0.042`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.0005 else f"p {number(p, 3)}"


def bases(values: pd.DataFrame) -> str:
    """The objectives that differences are taken to."""
    return ", ".join(base for base in values["base"].unique() if base) or "the base"


def names_of(labels: Labels, columns: list[str], values: Iterable[Any]) -> dict[str, str]:
    """The leading cells of a row: data set, backbone, decoder and objective, as far as the columns
    of its analysis are these."""
    known = {
        "dataset": ("Data set", labels.dataset),
        "backbone": ("Backbone", labels.block),
        "decoder": ("Decoder", labels.decoder),
        "objective": ("Objective", str),
    }
    pairs = [(*known[c], v) for c, v in zip(columns, values, strict=True) if c in known]
    return {title: show(value) for title, show, value in pairs}


def sample(frame: pd.DataFrame) -> str:
    """What a table rests on: the range of examples, users and seeds per row, from the columns
    `examples` and `users`, and `seeds` or `seed` where known."""
    if frame.empty:
        return ""
    parts = [f"{span(frame['examples'])} test examples of {span(frame['users'])} users"]
    if "seeds" in frame:
        parts.append(f"seeds per row: {span(frame['seeds'])}")
    elif "seed" in frame:
        parts.append(f"seeds: {listed(frame['seed'])}")
    return "; ".join(parts) + "."


def escape_latex(text: str) -> str:
    """Text as LaTeX source that prints it."""
    apart = re.sub(r"([-',])(?=\1)", "\\1\0", text)  # LaTeX joins two of these.
    return "".join(_LATEX.get(character, character) for character in apart)


def _as_text(cell: str) -> str:
    """Text as a cell of a CSV file, which a spreadsheet shows and never runs."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _escape_markdown(text: str) -> str:
    """Text as Markdown that shows it."""
    text = re.sub(r"([\\|*_`~$]|(?<=\])\()", r"\\\1", text)
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


def _sparse(frame: pd.DataFrame, left: int) -> pd.DataFrame:
    """The cells that name a row left blank where they repeat the row above, but for the last."""
    frame = frame.copy()
    repeats = pd.Series(True, index=frame.index)
    for column in frame.columns[: left - 1]:
        repeats &= frame[column] == frame[column].shift()
        frame[column] = frame[column].mask(repeats, "")
    return frame


def markdown(frame: pd.DataFrame, notes: list[str], bold: set[tuple[int, str]]) -> str:
    """A pipe table with the notes as paragraphs below it."""
    lines = [[*map(_escape_markdown, frame)], ["---"] * len(frame.columns)]
    for i, row in enumerate(frame.to_dict("records")):
        cells = {column: _escape_markdown(text) for column, text in row.items()}
        lines.append([f"**{t}**" if (i, c) in bold else t for c, t in cells.items()])
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    # At the start of a paragraph more characters are markup: of headings, lists, quotes and links.
    paragraphs = [
        re.sub(r"^(\d*)(?=[-+#>=\[.)])", r"\1\\", _escape_markdown(note)) for note in notes
    ]
    return "\n\n".join([table, *paragraphs]) + "\n"


def latex(frame: pd.DataFrame, notes: list[str], bold: set[tuple[int, str]], left: int) -> str:
    r"""A `tabular` with booktabs' rules, shrunk to the line where it is wider; notes follow in
    \footnotesize.

    A thin rule stands above a row whose first cell is new. Leading columns of sentences
    are broken into lines. In a `WIDE` table an interval and a p-value stand below their number.
    """
    lengths = frame.apply(lambda column: column.str.len().max()).clip(upper=SENTENCE)
    wide = lengths.sum() > WIDE
    sides = dict.fromkeys(frame.columns[:left], "l")

    def cell(column: str, parts: list[str], strong: bool) -> str:
        """One cell, its parts below each other."""
        shown = [rf"\textbf{{{p}}}" if strong else p for p in map(escape_latex, parts)]
        if len(shown) == 1:
            return shown[0]
        # After the end of a row LaTeX takes [ and * for its own.
        stack = r"\\{}".join(shown)
        return rf"\begin{{tabular}}[t]{{@{{}}{sides.get(column, 'r')}@{{}}}}{stack}\end{{tabular}}"

    kinds = ["l"] * left + ["r"] * (len(frame.columns) - left)
    for i, column in enumerate(frame.columns[:left]):
        if frame[column].str.len().max() > SENTENCE:
            kinds[i] = "p{4.5cm}"
    lines = [
        "% needs \\usepackage{booktabs,graphicx}; scripts beyond Latin need XeLaTeX or LuaLaTeX",
        r"\noindent\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{" + "".join(kinds) + "}",
        r"\toprule",
        " & ".join(cell(c, textwrap.wrap(c, NAME_WIDTH if wide else len(c)), False) for c in frame)
        + r" \\",
        r"\midrule",
    ]
    for i, row in enumerate(frame.to_dict("records")):
        first = next(iter(row.values()))
        if left > 1 and i and first:
            lines.append(r"\midrule")
        line = [
            cell(c, _BREAKS.split(text) if wide else [text], (i, c) in bold)
            for c, text in row.items()
        ]
        lines.append("{}" * first.startswith(("[", "*")) + " & ".join(line) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}}"]
    lines += [rf"\par{{\footnotesize\noindent {escape_latex(note)}\par}}" for note in notes]
    return "\n".join(lines) + "\n"


def write(table: Table, provenance: pd.DataFrame | None, output: Path) -> None:
    """Write a table as `output` (.csv) and beside it as .md, .tex and, for the report, .json; the
    analysis `provenance` is its last note, where there is one.

    Raises:
        InputError: the table has no row.
    """
    if table.rows.empty:
        raise InputError(f"{output}: nothing to show; are the inputs of this table empty?")
    frame = table.rows.astype(object).where(table.rows.notna(), UNKNOWN).astype(str)
    frame = frame.map(one_line).rename(columns=one_line)
    notes = list(table.notes)
    if provenance is not None:
        words = provenance.set_index("about")["words"]
        notes.append(f"Device: {words['device'] or UNKNOWN}. Settings. {words['settings']}")
    notes = [note for note in map(one_line, notes) if note]
    write_csv(frame.map(_as_text).rename(columns=_as_text), output)
    frame = _sparse(frame, table.left)
    write_text(markdown(frame, notes, table.bold), output.with_suffix(".md"))
    write_text(latex(frame, notes, table.bold, table.left), output.with_suffix(".tex"))
    rows = [
        [{"text": t, "bold": (i, c) in table.bold} for c, t in row.items()]
        for i, row in enumerate(frame.to_dict("records"))
    ]
    shown = {"header": list(frame.columns), "rows": rows, "notes": notes}
    write_json(shown, output.with_suffix(".json"))
