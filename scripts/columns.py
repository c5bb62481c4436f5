"""Ranked lists as columns of text, side by side on a terminal."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import zip_longest

#: Titles shown of each list, and what stands between two columns.
TOP, GAP = 10, "    "


def fitted(line: str, width: int) -> str:
    """A line, cut with an ellipsis where it is too long."""
    return line if len(line) <= width else line[: width - 1] + "…"


def list_lines(
    name: str, ranked: Iterable[tuple[str, float]], marked: Collection[str]
) -> list[str]:
    """A name, and titles with their ranks and scores; `marked` ones bear an asterisk."""
    lines = [name]
    for rank, (title, score) in enumerate(ranked, 1):
        mark = "*" if title in marked else " "
        lines.append(f"{rank:4}{mark} {score:8.2f}  {title}")
    return lines


def side_by_side(blocks: list[list[str]], width: int) -> list[str]:
    """Blocks of lines as equal columns that share a width; lines that are too long are cut."""
    column = (width + len(GAP)) // len(blocks) - len(GAP)
    rows = zip_longest(*blocks, fillvalue="")
    return [GAP.join(f"{fitted(line, column):<{column}}" for line in row).rstrip() for row in rows]
