"""Rows of raw files, one format a function: typed, in file order, and every bad line counted."""

from __future__ import annotations

import ast
import codecs
import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from scripts.command import InputError, progress
from scripts.data.content import reading, utf8_reader

Row = TypeVar("Row")

#: Bytes that are decoded at once, and rows in a batch where they are decoded singly.
BLOCK = 1 << 18
BATCH = 4096

#: Bytes of a line that is too long.
LONGEST = 1 << 26

#: Whole floats below this stand for themselves alone.
EXACT = 1 << 53

#: How many malformed lines are remembered word for word; all are counted.
REMEMBERED = 5

#: Parts the lines of a text into cells.
Split = Callable[[Iterable[str]], Iterator[list[str]]]

#: What can be wrong with a line. Python literals end in a MemoryError where they nest too deep.
LINE_ERRORS = (
    msgspec.MsgspecError,
    ValueError,
    SyntaxError,
    TypeError,
    RecursionError,
    MemoryError,
    OverflowError,
    csv.Error,
)


@dataclass
class Tally:
    """How many lines were read, and which of them could not be."""

    lines: int = 0
    malformed: Counter[str] = field(default_factory=Counter)
    """Malformed lines by reason."""
    first: list[str] = field(default_factory=list)
    """The first malformed lines, as `file:line: reason`."""
    ratings: int = 0
    """Ratings that are no number: they are missing, and their reviews stay."""
    cut: bool = False
    """Whether a file ends inside a line that cannot be read: it may be truncated."""

    def fault(self, file: str, line: int, error: Exception, lines: int = 1) -> None:
        """Count a malformed row, which begins at a line and takes so many."""
        self.malformed[reason(error)] += lines
        if len(self.first) < REMEMBERED:
            what = (str(error).splitlines() or [type(error).__name__])[0]
            self.first.append(f"{file}:{line}: {what}")


def reason(error: Exception) -> str:
    """The kind of a fault in a few words."""
    message = str(error)
    if isinstance(error, UnicodeError):
        return "not UTF-8"
    if not isinstance(error, msgspec.ValidationError):
        return "cannot be parsed"
    if "missing required field" in message:
        return "missing field"
    if re.search("(`int`|`float`|time) [<>]=", message) or "not finite" in message:
        return "time out of range"
    return "wrong type or empty"


def lines(
    path: Path,
    decode: Callable[[bytes], Row],
    tally: Tally,
    decode_all: Callable[[bytes], list[Row]] | None = None,
    encoding: str | None = None,
) -> Iterator[list[Row]]:
    """Rows of a file of one row a line, in batches; blank lines are no rows, and a leading byte
    order mark is left out.

    Args:
        path: Plain or packed, see `open_text`.
        decode: Makes a row of a line, or raises one of `LINE_ERRORS`.
        tally: Counts the lines.
        decode_all: Makes the rows of many lines at once, which is faster. Where it fails, or a line
            is no row of its own, the lines are decoded one by one.
        encoding: Of a text without a mark; None is UTF-8. Lines are decoded from UTF-8 always.

    Raises:
        InputError: the file is missing, empty, truncated or corrupt, or holds no text.
    """
    number = blank = 0
    with reading(path), utf8_reader(path, encoding) as read:
        for block in progress(_blocks(path, read), f"reading {path.name} (blocks)"):
            if not number:
                block = block.removeprefix(codecs.BOM_UTF8)
            ends = np.frombuffer(block, np.uint8) == ord("\n")  # Faster than to count in bytes.
            count = int(np.count_nonzero(ends)) + (not block.endswith(b"\n"))
            rows: list[Row] = []
            if decode_all is not None:
                with suppress(*LINE_ERRORS):
                    rows = decode_all(block)
            if len(rows) != count:
                rows = []
                for place, line in enumerate(block.removesuffix(b"\n").split(b"\n"), number + 1):
                    if not line.strip():
                        blank += 1
                        continue
                    try:
                        rows.append(decode(line))
                    except LINE_ERRORS as error:
                        tally.fault(path.name, place, error)
                        tally.cut |= place == number + count and not block.endswith(b"\n")
            yield rows
            number += count
    tally.lines += number - blank
    check_not_empty(str(path), number - blank)


def _blocks(path: Path, read: Callable[[int], bytes]) -> Iterator[bytes]:
    """A file in blocks of whole lines."""
    rest = b""
    while block := read(BLOCK):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
            if len(rest) > LONGEST:
                raise InputError(
                    f"{path}: a line has more than {LONGEST >> 20} MB; name a file of rows"
                )
    if rest:
        yield rest


def batched(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Rows in batches: whole batches spare Python's work on each row."""
    rows = iter(rows)
    while batch := list(islice(rows, BATCH)):
        yield batch


def check_not_empty(place: str, rows: int) -> None:
    """Refuse a file without any row.

    Raises:
        InputError: there is no row.
    """
    if not rows:
        raise InputError(f"{place}: the file is empty; delete it and obtain it again")


def json_lines(path: Path, kind: type[Row], tally: Tally) -> Iterator[list[Row]]:
    """Rows of a file of JSON lines, or Python literals, in batches; see `parse`.

    Only the fields of `kind` are decoded. Python's parser takes some 20 microseconds a line.
    """
    decoder = msgspec.json.Decoder(kind)

    def decode(line: bytes) -> Row:
        try:
            return decoder.decode(line)
        except msgspec.DecodeError:
            row = convert(parse(line), kind, tally)
        for value in msgspec.structs.astuple(row):
            str(value).encode()  # A literal can hold half a character, which is no text.
        return row

    return lines(path, decode, tally, decoder.decode_lines)


def parse(content: bytes) -> Any:
    """The value of JSON, in which Python's NaN may stand, or of a Python literal, which is never
    run.

    Raises:
        DecodeError: it is neither.
        UnicodeError: it is no UTF-8.
    """
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError as error:
        text = content.decode().strip()
        for other in (ast.literal_eval, json.loads):
            with suppress(*LINE_ERRORS):
                return other(text)
        raise error


def convert(row: Any, kind: type[Row], tally: Tally, strict: bool = True) -> Row:
    """A row of plain values, decoded already. A title that is a number is text, and a `rating` that
    is none is missing, and counted.

    Raises:
        ValidationError: another value is missing or wrong.
    """
    try:
        return msgspec.convert(row, kind, strict=strict)
    except msgspec.ValidationError:
        if not isinstance(row, dict):
            raise
    lost = False
    for f in msgspec.structs.fields(kind):
        value = row.get(f.encode_name)
        if value is not None and f.name in ("title", "app_name"):
            row[f.encode_name] = text(value)
        elif value is not None and f.name == "rating":
            row[f.encode_name] = number(value)
            lost = row[f.encode_name] is None
    found = msgspec.convert(row, kind, strict=strict)
    tally.ratings += lost
    return found


def text(value: Any) -> str | None:
    """A plain value as text, the same from every format: a whole number has no point.

    Text stands as it is: `007` and `3.0` of a CSV file are no numbers. NaN is a missing value.

    Raises:
        ValidationError: it is neither text nor number, or a float too big to be a certain number.
        UnicodeError: its bytes are no UTF-8, or it holds half a character.
    """
    if value is None or value != value:
        return None
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, str):
        value.encode()
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise msgspec.ValidationError(f"Expected text or a number, got `{type(value).__name__}`")
    if isinstance(value, float) and not abs(value) < EXACT:
        raise msgspec.ValidationError(f"Expected text or a whole number, got the float {value}")
    if value == int(value):
        return str(int(value))
    return str(value.normalize() if isinstance(value, Decimal) else value)


def number(value: Any) -> float | None:
    """A finite number, which may be written as text; None for anything else."""
    try:
        found = float("nan" if isinstance(value, bool) else value)
    except (ValueError, TypeError, OverflowError):
        return None
    return found if isfinite(found) else None


def delimited(
    stream: Iterable[str],
    file: Path,
    member: str,
    columns: Mapping[str, bool],
    make: Callable[[dict[str, str]], Row],
    tally: Tally,
    split: Split,
    header: Sequence[str] | Callable[[str], str] = str,
    hint: str = "",
) -> Iterator[Row]:
    """Rows of a text of separated cells; an empty cell is a missing value, empty cells alone are no
    row, and a leading byte order mark is left out.

    Args:
        stream: The text's lines, see `as_text`.
        file: The file, for messages.
        member: Name of the text inside an archive, or of the file.
        columns: The columns that are used, and whether the text must have them.
        make: Makes a row of the cells that are not empty, or raises one of `LINE_ERRORS`.
        tally: Counts the lines.
        split: Parts lines into cells: `tabbed`, `separated(...)` or `parted(...)`.
        header: Names of the columns, or what makes a name of each cell of the first line.
        hint: What else may help where a column is missing.

    Raises:
        InputError: a column is missing or stands twice, or there is no row.
    """
    number, line = 0, ""

    def counted() -> Iterator[str]:
        nonlocal number, line
        for line in stream:
            number += 1
            yield line.removeprefix("\ufeff") if number == 1 else line

    place = str(file) if member == file.name else f"{file}: {member}"
    rows = _rows_or_errors(split(counted()))
    if callable(header):
        cells = next((cells for cells in rows if _filled(cells)), [])
        if isinstance(cells, csv.Error):
            raise InputError(f"{place} has a header that cannot be read ({cells}){hint}")
        names = [header(name) for name in cells]
        header = [name if name in columns else name.strip() for name in names]
    begin = end = number
    blank = 0
    if header:
        check_columns(place, columns, header, hint)
    used = [(name, header.index(name)) for name in columns if name in header]
    faulty = False
    for cells in progress(rows, f"reading {member}"):
        first, end = end + 1, number
        if not _filled(cells):
            blank += end - first + 1
            continue
        faulty = True
        try:
            if isinstance(cells, csv.Error):
                raise cells
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells, expected {len(header)}")
            present = {name: cells[i] for name, i in used if cells[i]}
            for cell in present.values():
                cell.encode()  # Bytes that are no text came as lone surrogates.
            row = make(present)
        except LINE_ERRORS as error:
            # A quote that is never closed takes many lines into one row: all of them are lost.
            tally.fault(member, first, error, lines=end - first + 1)
        else:
            faulty = False
            yield row
    tally.cut |= faulty and not line.endswith(("\n", "\r"))
    tally.lines += end - begin - blank
    check_not_empty(place, end - begin - blank)


def _filled(cells: list[str] | csv.Error) -> bool:
    """Whether a row holds anything."""
    return isinstance(cells, csv.Error) or any(map(str.strip, cells))


def typed(kind: type[Row], tally: Tally) -> tuple[dict[str, bool], Callable[[dict[str, str]], Row]]:
    """The columns that a kind of row has its fields from, and what makes it, for `delimited`."""
    columns = {f.encode_name: f.required for f in msgspec.structs.fields(kind)}
    return columns, lambda cells: convert(cells, kind, tally, strict=False)


def check_columns(
    place: str, columns: Mapping[str, bool], found: Sequence[str], hint: str = ""
) -> None:
    """Refuse a table that lacks a column, or has two of its name.

    Raises:
        InputError: a column is missing that the table must have, or one stands twice.
    """
    absent = [name for name, required in columns.items() if required and name not in found]
    if absent:
        raise InputError(f"{place} lacks the columns {absent}; found {list(found)[:30]}{hint}")
    if twice := [name for name in columns if found.count(name) > 1]:
        raise InputError(f"{place} has the columns {twice} twice; rename or delete one of each")


def _rows_or_errors(rows: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """Rows, with the error in the place of a row that cannot be parsed."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


#: Cells parted by tabs, never quoted.
tabbed: Split = partial(csv.reader, delimiter="\t", quoting=csv.QUOTE_NONE)


def separated(delimiter: str = ",", escape: str | None = None) -> Split:
    """Cells parted by one character and quoted where they hold it; a quote inside quotes stands
    twice, or after the escape."""
    return partial(csv.reader, delimiter=delimiter, escapechar=escape)


def parted(separator: str) -> Split:
    """Cells parted by any string, never quoted."""
    return lambda stream: (line.rstrip("\r\n").split(separator) for line in stream)
