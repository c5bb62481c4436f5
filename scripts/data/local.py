"""Local files: any pair of Parquet, JSON, CSV or TSV files, by the given columns."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from scripts.command import InputError, progress
from scripts.data.content import PARQUET, head, open_text, reading, utf8_reader
from scripts.data.lines import (
    LINE_ERRORS,
    Row,
    Split,
    Tally,
    batched,
    check_columns,
    check_not_empty,
    delimited,
    lines,
    number,
    parse,
    parted,
    separated,
    text,
)
from scripts.data.raw import RawData, collect, iso_seconds, of_reviewed
from scripts.data.settings import Local

#: A row of any format, by the file's own names of the columns.
Values = Mapping[str, Any]

#: Least and greatest time of each way to write times as numbers, and its milliseconds. The ranges
#: do not meet.
TIMES = {
    "seconds": (0, 253_402_300_799, 1e3),
    "milliseconds": (631_152_000_000, 253_402_300_799_999, 1),
    "microseconds": (631_152_000_000_000, 253_402_300_799_999_999, 1e-3),
    "nanoseconds": (631_152_000_000_000_000, 253_402_300_799_999_999_999, 1e-6),
}

HINT = "; look at the source's `columns`, `delimiter` and `encoding`"


class LocalReview(NamedTuple):
    """A review; the time is in UTC milliseconds."""

    user: str
    item: str
    timestamp: int
    rating: float | None


def read_local(source: Local, files: dict[str, Path]) -> RawData:
    """Read any pair of files by the given columns, in whatever format each of them is.

    Raises:
        InputError: a file cannot be read, or lacks a column.
    """
    tally, columns = Tally(), source.columns

    def review(values: Values) -> LocalReview:
        given = values.get(columns.rating)
        rating = number(given)
        made = LocalReview(
            identifier(values, columns.user),
            identifier(values, columns.item),
            milliseconds(given_of(values, columns.time), source.time),
            rating,
        )
        tally.ratings += rating is None and given == given and given not in (None, "", b"")
        return made

    def title(values: Values) -> tuple[str, str | None]:
        return identifier(values, columns.metadata_item), text(values.get(columns.title))

    names = [columns.user, columns.item, columns.time]
    names += [columns.rating] if columns.rating else []
    reviews = rows(files["reviews"], names, review, source, tally)
    titles = rows(files["metadata"], [columns.metadata_item, columns.title], title, source, tally)
    return of_reviewed(collect(reviews, ticks=1000), chain.from_iterable(titles), tally)


# Values ------------------------------------------------------------------------------------------


def given_of(values: Values, name: str) -> Any:
    """A value that a row must have.

    Raises:
        ValidationError: it is missing.
    """
    if values.get(name) is None:
        raise msgspec.ValidationError(f"missing required field `{name}`")
    return values[name]


def identifier(values: Values, name: str) -> str:
    """An id as text, without the blanks around it.

    Raises:
        ValidationError: it is missing, empty, or neither text nor number.
    """
    found = (text(given_of(values, name)) or "").strip()
    if not found:
        raise msgspec.ValidationError(f"Expected an id, got none - at `{name}`")
    return found


def milliseconds(value: Any, unit: str) -> int:
    """UTC milliseconds of a time; text that is no number is ISO 8601.

    Raises:
        ValueError: it is no time, or of another unit.
    """
    found = None if unit == "iso" else number(value)
    if found is None:
        return round(iso_seconds((text(value) or "").strip()) * 1000)
    low, high, factor = TIMES[unit]
    if low <= found <= high:
        return round(found * factor)
    fits = [name for name, (least, most, _) in TIMES.items() if least <= found <= most]
    hint = f"; the source's `time: {fits[0]}` would read it" if fits else ""
    raise msgspec.ValidationError(f"Expected a time >= {low} and <= {high}: {value}{hint}")


# Formats -----------------------------------------------------------------------------------------


def rows(
    path: Path, names: list[str], make: Callable[[Values], Row], source: Local, tally: Tally
) -> Iterator[Sequence[Row]]:
    """Rows of a file whose content tells its format, in batches.

    Args:
        path: The file.
        names: Columns, or keys, that it must have.
        make: Makes a row, or raises one of `LINE_ERRORS`.
        source: How text is written.
        tally: Counts the lines.

    Raises:
        InputError: it cannot be read, or lacks a column.
    """
    with reading(path):
        if head(path).startswith(PARQUET):
            yield from batched(parquet_rows(path, names, make, tally))
            return
        with utf8_reader(path, source.encoding) as read:
            begin = read(1 << 16).removeprefix(codecs.BOM_UTF8).lstrip().decode(errors="replace")
    named = re.search(r"\.(json|jsonl|ndjson)(\.\w+)?$", path.name.partition("?")[0].lower())
    if begin.startswith(("{", "[")) or named:
        yield from json_rows(path, names, make, source.encoding, tally, begin.startswith("["))
        return
    top = (begin.splitlines() or [""])[0]
    known = [part for part in (source.delimiter, "\t") if part and part in top]
    delimiter = known[0] if known else ","
    with reading(path), open_text(path, source.encoding) as stream:
        yield from batched(
            delimited(
                stream if source.quotes else _without_escapes(path, stream),
                path,
                path.name,
                dict.fromkeys(names, True),
                make,
                tally,
                _split(delimiter, source.quotes),
                hint=HINT,
            )
        )


def _split(delimiter: str, quotes: str | None) -> Split:
    if len(delimiter) > 1:
        return parted(delimiter)
    if delimiter == "\t" and quotes is None:
        return _whole_cells_quoted
    return separated(delimiter, "\\" if quotes == "backslash" else None)


def _whole_cells_quoted(stream: Iterable[str]) -> Iterator[list[str]]:
    """Cells parted by tabs; a cell that is quoted as a whole is without its quotes, and any other
    quote is one: `12" ruler`."""
    quoted = re.compile(r'"((?:[^"]|"")*)"')
    for cells in parted("\t")(stream):
        yield [
            found[1].replace('""', '"') if (found := quoted.fullmatch(cell)) else cell
            for cell in cells
        ]


def _without_escapes(path: Path, stream: Iterable[str]) -> Iterator[str]:
    """Lines, none of which holds a quote after a backslash.

    Raises:
        InputError: one does.
    """
    for place, line in enumerate(stream, 1):
        if '\\"' in line:
            raise InputError(
                f'{path}:{place}: \\" can be a quote, or a backslash at the end of a cell; set the '
                "source's `quotes` to backslash or doubled"
            )
        yield line


def json_rows(
    path: Path,
    names: list[str],
    make: Callable[[Values], Row],
    encoding: str | None,
    tally: Tally,
    array: bool,
) -> Iterator[Sequence[Row]]:
    """Rows of JSON, one a line or all in one array (which is held in memory), in batches.

    Raises:
        InputError: an array cannot be parsed, or no row at all has one of the keys.
    """
    missing, found = set(names), []

    def checked(values: Any) -> Row:
        if not isinstance(values, dict):
            raise msgspec.ValidationError(f"Expected an object, got `{type(values).__name__}`")
        if missing:
            found.extend(() if found else values)
            missing.difference_update(values)
        return make(values)

    def of_array() -> Iterator[Row]:
        with reading(path), utf8_reader(path, encoding) as read:
            content = b"".join(iter(partial(read, 1 << 20), b"")).removeprefix(codecs.BOM_UTF8)
        try:
            values = parse(content)
        except LINE_ERRORS as error:
            raise InputError(
                f"{path}: begins as a JSON array and is none ({error}); give one row a line, or "
                "one array of all rows"
            ) from error
        for place, value in enumerate(values, 1):
            try:
                yield checked(value)
            except LINE_ERRORS as error:
                tally.fault(path.name, place, error)
        tally.lines += len(values)
        check_not_empty(str(path), len(values))

    if array:
        yield from batched(of_array())
    else:
        yield from lines(path, lambda line: checked(parse(line)), tally, encoding=encoding)
    if found and missing:
        raise InputError(
            f"{path}: no row has the keys {sorted(missing)}; the first one has {found[:30]}{HINT}"
        )


def parquet_rows(
    path: Path, names: list[str], make: Callable[[Values], Row], tally: Tally
) -> Iterator[Row]:
    """Rows of a Parquet file; "lines" are its rows, counted from 1.

    Raises:
        InputError: the file is damaged, lacks a column, or has no row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = 0
    try:
        with reading(path), pq.ParquetFile(path) as file:
            check_columns(str(path), dict.fromkeys(names, True), file.schema_arrow.names, HINT)
            batches = file.iter_batches(columns=names)
            values = (
                dict(zip(batch.schema.names, row, strict=True))
                for batch in batches
                for row in zip(*map(_plain, batch.columns), strict=True)
            )
            total = file.metadata.num_rows
            for place, row in enumerate(progress(values, f"reading {path.name}", total), 1):
                try:
                    made = make(row)
                except LINE_ERRORS as error:
                    tally.fault(path.name, place, error)
                else:
                    yield made
    except pa.ArrowException as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from error
    tally.lines += place
    check_not_empty(str(path), place)


def _plain(column: Any) -> list[Any]:
    """Values of an Arrow column: dates and times as ISO 8601, and text as bytes, as a file may hold
    some that is no UTF-8."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return _plain(column.dictionary_decode())
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.string()).to_pylist()
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return column.cast(pa.large_binary()).to_pylist()
    return column.to_pylist()
