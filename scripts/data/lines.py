"""Rows of raw files, one format a function: typed, in file order, and every bad line counted."""

from __future__ import annotations

import ast
import codecs
import csv
import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from isal import igzip_threaded
from isal.isal_zlib import IsalError

from scripts.command import InputError, progress

Row = TypeVar("Row", bound=msgspec.Struct)

GZIP_MAGIC = b"\x1f\x8b"

#: Bytes that are decoded at once, and rows in a batch where they are decoded singly.
BLOCK = 1 << 18
BATCH = 4096

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

    def fault(self, file: str, line: int, error: Exception, lines: int = 1) -> None:
        """Count a malformed row, which begins at a line and takes so many."""
        self.malformed[reason(error)] += lines
        if len(self.first) < REMEMBERED:
            self.first.append(
                f"{file}:{line}: {str(error).splitlines()[0] or type(error).__name__}"
            )


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


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever shows a file to be missing or damaged into a message that names it.

    Raises:
        InputError: the file is missing, truncated or corrupt.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; obtain it or mend the configured path") from error
    except (EOFError, OSError, IsalError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: the file is truncated or corrupt ({error}); delete it and obtain it again"
        ) from error


def open_bytes(path: Path) -> IO[bytes]:
    """Open a gzipped or plain file (told apart by content); inflating has a thread of its own."""
    with path.open("rb") as stream:
        gzipped = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return igzip_threaded.open(path, "rb", threads=1) if gzipped else path.open("rb")


def lines(
    path: Path,
    decode: Callable[[bytes], Row],
    tally: Tally,
    decode_all: Callable[[bytes], list[Row]] | None = None,
) -> Iterator[list[Row]]:
    """Rows of a file of one row a line, in batches; blank lines are no rows, and a leading byte
    order mark is left out.

    Args:
        path: Plain or gzipped.
        decode: Makes a row of a line, or raises one of `LINE_ERRORS`.
        tally: Counts the lines.
        decode_all: Makes the rows of many lines at once, which is faster. Where it fails, or a line
            is no row of its own, the lines are decoded one by one.

    Raises:
        InputError: the file is missing, empty, truncated or corrupt.
    """
    number = blank = 0
    with reading(path), open_bytes(path) as stream:
        for block in progress(_blocks(stream), f"reading {path.name} (blocks)"):
            if not number:
                block = block.removeprefix(codecs.BOM_UTF8)
            count = block.count(b"\n") + (not block.endswith(b"\n"))
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
            yield rows
            number += count
    tally.lines += number - blank
    check_not_empty(str(path), number - blank)


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """A file in blocks of whole lines."""
    rest = b""
    while block := stream.read(BLOCK):
        end = block.rfind(b"\n") + 1
        if end:
            yield rest + block[:end]
            rest = block[end:]
        else:
            rest += block
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
    """Rows of a file of JSON lines, in batches; only the fields of `kind` are decoded."""
    decoder = msgspec.json.Decoder(kind)
    return lines(path, decoder.decode, tally, decoder.decode_lines)


def literal_lines(path: Path, kind: type[Row], tally: Tally) -> Iterator[list[Row]]:
    """Rows of a file of Python literals, parsed and never run, in batches; JSON is read too.

    Python's parser takes some 20 microseconds a line.
    """
    decode_json = msgspec.json.Decoder(kind).decode

    def decode(line: bytes) -> Row:
        try:
            return decode_json(line)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            row = msgspec.convert(ast.literal_eval(line.decode("utf-8").strip()), kind)
        for value in msgspec.structs.astuple(row):
            str(value).encode()  # A literal can hold half a character, which is no text.
        return row

    return lines(path, decode, tally)


def delimited(
    stream: Iterable[str],
    file: Path,
    member: str,
    kind: type[Row],
    tally: Tally,
    split: Split,
    header: Sequence[str] | None = None,
    complete: bool = False,
) -> Iterator[Row]:
    """Rows of a text of separated cells; an empty cell is a missing value, a blank line no row.

    Args:
        stream: The text's lines, see `as_text`.
        file: The file, for messages.
        member: Name of the text inside an archive, or of the file.
        kind: The columns that are used.
        tally: Counts the lines.
        split: Parts lines into cells: `tabbed`, `comma_separated` or `parted`.
        header: Names of the columns; None takes them from the first line, up to a colon.
        complete: Refuse a file without a column whose cells may be empty, too.

    Raises:
        InputError: a column is missing, or there is no row.
    """
    number = 0

    def counted() -> Iterator[str]:
        nonlocal number
        for line in stream:
            number += 1
            yield line

    rows = _rows_or_errors(split(counted()))
    if header is None:
        cells = next(rows, [])
        if isinstance(cells, csv.Error):
            raise InputError(f"{file}: {member} has a header that cannot be read ({cells})")
        header = [name.partition(":")[0] for name in cells]
    begin = end = number
    blank = 0
    place = str(file) if member == file.name else f"{file}: {member}"
    fields = msgspec.structs.fields(kind)
    if number:
        check_columns(place, kind, header, complete)
    columns = [
        (f.encode_name, header.index(f.encode_name)) for f in fields if f.encode_name in header
    ]
    for cells in progress(rows, f"reading {member}"):
        first, end = end + 1, number
        if cells in ([], [""]):
            blank += 1
            continue
        try:
            if isinstance(cells, csv.Error):
                raise cells
            if len(cells) != len(header):
                raise ValueError(f"{len(cells)} cells, expected {len(header)}")
            present = {name: cells[i] for name, i in columns if cells[i]}
            for cell in present.values():
                cell.encode()  # Bytes that are no text came as lone surrogates.
            row = msgspec.convert(present, kind, strict=False)
        except LINE_ERRORS as error:
            # A quote that is never closed takes many lines into one row: all of them are lost.
            tally.fault(member, first, error, lines=end - first + 1)
        else:
            yield row
    tally.lines += end - begin - blank
    check_not_empty(place, end - begin - blank)


def check_columns(place: str, kind: type[Row], found: Sequence[str], complete: bool) -> None:
    """Refuse a table that lacks a column.

    Raises:
        InputError: a required column is missing or, if it must be complete, any one.
    """
    absent = [
        f.encode_name
        for f in msgspec.structs.fields(kind)
        if (f.required or complete) and f.encode_name not in found
    ]
    if absent:
        raise InputError(f"{place} lacks the columns {absent}; found {list(found)}")


def _rows_or_errors(rows: Iterator[list[str]]) -> Iterator[list[str] | csv.Error]:
    """Rows, with the error in the place of a row that cannot be parsed."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield error


def tabbed(stream: Iterable[str]) -> Iterator[list[str]]:
    """Cells parted by tabs, never quoted."""
    return csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)


def comma_separated(stream: Iterable[str]) -> Iterator[list[str]]:
    """Cells parted by commas, quoted where they hold one."""
    return csv.reader(stream)


def parted(separator: str) -> Split:
    """Cells parted by any string, never quoted."""

    def split(stream: Iterable[str]) -> Iterator[list[str]]:
        return (line.rstrip("\r\n").split(separator) for line in stream)

    return split


def as_text(stream: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """Bytes as text; bytes that are none become lone surrogates, which `delimited` finds.

    In UTF-8 a leading byte order mark is left out.
    """
    name = "utf-8-sig" if encoding == "utf-8" else encoding
    return io.TextIOWrapper(stream, name, errors="surrogateescape", newline="")


def parquet_rows(path: Path, kind: type[Row], tally: Tally) -> Iterator[Row]:
    """Rows of a Parquet file with all columns of `kind`; "lines" are its rows, counted from 1.

    Raises:
        InputError: the file is missing or damaged, lacks a column, or has no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = msgspec.structs.fields(kind)
    number = 0
    try:
        with reading(path), pq.ParquetFile(path) as file:
            found = file.schema_arrow.names
            check_columns(str(path), kind, found, complete=True)
            columns = [f.encode_name for f in fields if f.encode_name in found]
            batches = file.iter_batches(columns=columns)
            rows = (row for batch in batches for row in batch.to_pylist())
            total = file.metadata.num_rows
            for number, row in enumerate(progress(rows, f"reading {path.name}", total), 1):
                present = {
                    name: value.isoformat() if isinstance(value, date) else value
                    for name, value in row.items()
                    if value is not None
                }
                try:
                    converted = msgspec.convert(present, kind)
                except LINE_ERRORS as error:
                    tally.fault(path.name, number, error)
                else:
                    yield converted
    except pa.ArrowInvalid as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from error
    tally.lines += number
    check_not_empty(str(path), number)
