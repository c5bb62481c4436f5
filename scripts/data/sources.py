"""Readers of the raw data: any source becomes plain arrays, in the order of its file."""

from __future__ import annotations

import re
import zipfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, NamedTuple, TypeVar

import msgspec
import numpy as np
from isal import igzip_threaded
from isal.isal_zlib import IsalError

from scripts.command import InputError, progress

GZIP_MAGIC = b"\x1f\x8b"

#: How many malformed lines are remembered word for word; all are counted.
REMEMBERED = 5

Row = TypeVar("Row", bound=msgspec.Struct)
Id = Annotated[str, msgspec.Meta(min_length=1)]
#: UTC seconds up to the year 9999: a time in milliseconds is a malformed line.
IN_SECONDS = msgspec.Meta(ge=0, le=253_402_300_799)


class AmazonReview(msgspec.Struct, gc=False):
    """The fields of a raw review that are used."""

    user: Id = msgspec.field(name="reviewerID")
    item: Id = msgspec.field(name="asin")
    timestamp: Annotated[int, IN_SECONDS] = msgspec.field(name="unixReviewTime")
    rating: float | None = msgspec.field(name="overall", default=None)


class AmazonItem(msgspec.Struct, gc=False):
    """The fields of a raw metadata row that are used."""

    item: Id = msgspec.field(name="asin")
    title: str | None = None


class MovieLensRating(msgspec.Struct, gc=False):
    """The columns of an `.inter` file that are used."""

    user: Id = msgspec.field(name="user_id")
    item: Id = msgspec.field(name="item_id")
    timestamp: Annotated[float, IN_SECONDS]
    rating: float | None = None


class MovieLensItem(msgspec.Struct, gc=False):
    """The columns of an `.item` file that are used."""

    item: Id = msgspec.field(name="item_id")
    title: str | None = msgspec.field(name="movie_title", default=None)
    year: str | None = msgspec.field(name="release_year", default=None)


@dataclass
class Tally:
    """How many lines were read, and which of them could not be."""

    lines: int = 0
    malformed: int = 0
    first: list[str] = field(default_factory=list)
    """The first malformed lines, as `file:line: reason`."""

    def fault(self, file: str, line: int, reason: object) -> None:
        """Count a malformed line."""
        self.malformed += 1
        if len(self.first) < REMEMBERED:
            self.first.append(f"{file}:{line}: {reason}")


class Reviews(NamedTuple):
    """Reviews as parallel arrays in file order; codes count from 0 by first appearance."""

    users: list[str]
    """Source ids of the users, by code."""
    items: list[str]
    """Source ids of the items, by code."""
    user: np.ndarray
    """int32, code of each review's user."""
    item: np.ndarray
    """int32, code of each review's item."""
    rating: np.ndarray
    """float32, NaN where missing."""
    timestamp: np.ndarray
    """int64, UTC seconds."""


class RawData(NamedTuple):
    """Everything that the preparation needs to know of a source."""

    reviews: Reviews
    titles: list[tuple[int, str | None]]
    """Metadata rows of the reviewed items in file order: the item's code and its raw title."""
    tally: Tally


def read_amazon_2018(reviews: Path, metadata: Path) -> RawData:
    """Read Amazon review data of 2018: JSON lines, gzipped or plain (told apart by content).

    Args:
        reviews: Reviews with `reviewerID, asin, unixReviewTime` and perhaps `overall`.
        metadata: Items with `asin` and perhaps `title`.

    Raises:
        InputError: a file is missing, empty, truncated or corrupt.
    """
    tally = Tally()
    collected = _collect(_json_rows(reviews, AmazonReview, tally))
    titles = ((row.item, row.title) for row in _json_rows(metadata, AmazonItem, tally))
    return RawData(collected, _of_reviewed(titles, collected.items), tally)


def read_movielens_wheel(wheel: Path, name: str) -> RawData:
    """Read a MovieLens set that a wheel holds as RecBole's atomic files.

    Args:
        wheel: A wheel, read in place.
        name: Path inside the wheel of `<name>.inter` and `<name>.item`, without the endings.

    Raises:
        InputError: the wheel is missing or damaged, or does not hold the files or their columns.
    """
    tally = Tally()
    try:
        with zipfile.ZipFile(wheel) as archive:
            ratings = _table_rows(archive, wheel, f"{name}.inter", MovieLensRating, tally)
            items = _table_rows(archive, wheel, f"{name}.item", MovieLensItem, tally)
            collected = _collect(ratings)
            titles = ((row.item, movielens_title(row)) for row in items)
            return RawData(collected, _of_reviewed(titles, collected.items), tally)
    except (OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel}: {error}; delete it and run again to fetch it anew") from error


def movielens_title(row: MovieLensItem) -> str | None:
    """The title as spoken.

    RecBole parts GroupLens' "M (1931)" into title and year. A title of one letter gets its year
    back: D3's rule against such titles is aimed at noise, and this one names a film.
    """
    if row.title is None:
        return None
    title = article_first(row.title)
    return f"{title} ({row.year})" if len(title) == 1 and row.year else title


def article_first(title: str) -> str:
    """Put a trailing English article in front, as in speech.

    >>> article_first("Tin Drum, The (Blechtrommel, Die)")
    'The Tin Drum (Blechtrommel, Die)'
    """
    return re.sub(r"^([^()]+), (The|An|A)(?=$| \()", r"\2 \1", title)


def _collect(rows: Iterable[AmazonReview] | Iterable[MovieLensRating]) -> Reviews:
    """Turn rows into arrays: 20 bytes a row plus the distinct ids."""
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    user, item, rating, timestamp = array("i"), array("i"), array("f"), array("q")
    missing = float("nan")
    for row in rows:
        user.append(users.setdefault(row.user, len(users)))
        item.append(items.setdefault(row.item, len(items)))
        rating.append(missing if row.rating is None else row.rating)
        timestamp.append(int(row.timestamp))
    return Reviews(
        list(users),
        list(items),
        np.array(user, copy=False),
        np.array(item, copy=False),
        np.array(rating, copy=False),
        np.array(timestamp, copy=False),
    )


def _of_reviewed(
    titles: Iterable[tuple[str, str | None]], items: list[str]
) -> list[tuple[int, str | None]]:
    """Keep the metadata rows of reviewed items: no other row can reach a result."""
    codes = {item: code for code, item in enumerate(items)}
    return [(codes[item], title) for item, title in titles if item in codes]


def _json_rows(path: Path, kind: type[Row], tally: Tally) -> Iterator[Row]:
    decode = msgspec.json.Decoder(kind).decode
    before = tally.lines
    try:
        with _open(path) as stream:
            for line in progress(stream, f"reading {path.name}"):
                tally.lines += 1
                try:
                    row = decode(line)
                except (
                    msgspec.MsgspecError,
                    UnicodeDecodeError,
                    RecursionError,
                ) as error:
                    tally.fault(path.name, tally.lines - before, error)
                else:
                    yield row
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; obtain it or mend the configured path") from error
    except (EOFError, OSError, IsalError) as error:
        raise InputError(
            f"{path}: the file is truncated or corrupt ({error}) after line "
            f"{tally.lines - before}; delete it and obtain it again"
        ) from error
    if tally.lines == before:
        raise InputError(f"{path}: the file is empty; delete it and obtain it again")


def _open(path: Path) -> IO[bytes]:
    """Open a gzipped or plain file for reading; gzip is inflated in a thread of its own."""
    with path.open("rb") as stream:
        gzipped = stream.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return igzip_threaded.open(path, "rb", threads=1) if gzipped else path.open("rb")


def _table_rows(
    archive: zipfile.ZipFile, wheel: Path, member: str, kind: type[Row], tally: Tally
) -> Iterator[Row]:
    """Rows of a tab-separated file whose header names each column as `name:type`."""
    if member not in archive.namelist():
        found = sorted(name for name in archive.namelist() if name.endswith(Path(member).suffix))
        raise InputError(f"{wheel}: holds no '{member}'; mend the source's name; found {found}")
    fields = msgspec.structs.fields(kind)
    with archive.open(member) as stream:
        header = [name.partition(":")[0] for name in _cells(stream.readline())]
        absent = [f.encode_name for f in fields if f.required and f.encode_name not in header]
        if absent:
            raise InputError(f"{wheel}: {member} lacks the columns {absent}; found {header}")
        names = [f.encode_name for f in fields if f.encode_name in header]
        columns = [(name, header.index(name)) for name in names]
        number = 1
        for number, line in enumerate(progress(stream, f"reading {Path(member).name}"), 2):
            tally.lines += 1
            try:
                cells = _cells(line)
                if len(cells) != len(header):
                    raise msgspec.ValidationError(
                        f"{len(cells)} tab-separated cells, expected {len(header)}"
                    )
                row = msgspec.convert(
                    {name: cells[i] or None for name, i in columns}, kind, strict=False
                )
            except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                tally.fault(Path(member).name, number, error)
            else:
                yield row
        if number == 1:
            raise InputError(f"{wheel}: {member} is empty; delete the wheel and run again")


def _cells(line: bytes) -> list[str]:
    return line.decode("utf-8").rstrip("\r\n").split("\t")
