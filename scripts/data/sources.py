"""Sources of raw data: each reader yields the same columns, in the order of its file.

A new source is one settings class (settings.py) and one reader here, entered in `READERS`.
"""

from __future__ import annotations

import re
import zipfile
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain, count
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Protocol

import msgspec
import numpy as np

from scripts.command import InputError
from scripts.data.lines import (
    Split,
    Tally,
    as_text,
    batched,
    comma_separated,
    delimited,
    json_lines,
    literal_lines,
    open_bytes,
    parquet_rows,
    parted,
    reading,
    tabbed,
)
from scripts.data.settings import Amazon, Local, MovieLensWheel, MovieLensZip, Source, Steam

flat = chain.from_iterable

Id = Annotated[str, msgspec.Meta(min_length=1)]
#: UTC seconds up to the year 9999: a time in milliseconds is a malformed line.
Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
#: UTC milliseconds since 1990: a time in seconds is a malformed line.
Milliseconds = Annotated[int, msgspec.Meta(ge=631_152_000_000, le=253_402_300_799_999)]


class Review(Protocol):
    """What every reader yields of a review; the time is in ticks, see `Reviews`."""

    user: str
    item: str
    timestamp: int
    rating: float | None


#: What every reader yields of a metadata row: the item's source id and its raw title.
Title = tuple[str, str | None]


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
    """int64, UTC, in ticks of the source's own resolution."""
    ticks: int
    """Ticks in a second: 1, or 1,000 where the source gives milliseconds."""


class RawData(NamedTuple):
    """Everything that the preparation needs to know of a source."""

    reviews: Reviews
    titles: list[tuple[int, str | None]]
    """Metadata rows of the reviewed items in file order: the item's code and its raw title."""
    tally: Tally


def read(source: Source, files: dict[str, Path]) -> RawData:
    """Read the raw files of a source.

    Args:
        source: Where the data come from, and how they are laid out.
        files: The local files by the names that `addresses` of the settings gives them.

    Raises:
        InputError: a file is missing, empty, truncated or corrupt.
    """
    return READERS[source.kind](source, files)


# Amazon ------------------------------------------------------------------------------------------


class AmazonReview(msgspec.Struct, gc=False):
    """A review of 2014 or 2018."""

    user: Id = msgspec.field(name="reviewerID")
    item: Id = msgspec.field(name="asin")
    timestamp: Seconds = msgspec.field(name="unixReviewTime")
    rating: float | None = msgspec.field(name="overall", default=None)


class AmazonItem(msgspec.Struct, gc=False):
    """A metadata row of 2014 or 2018."""

    item: Id = msgspec.field(name="asin")
    title: str | None = None


class AmazonReview2023(msgspec.Struct, gc=False):
    """A review of 2023."""

    user: Id = msgspec.field(name="user_id")
    item: Id = msgspec.field(name="parent_asin")
    timestamp: Milliseconds
    rating: float | None = None


class AmazonItem2023(msgspec.Struct, gc=False):
    """A metadata row of 2023."""

    item: Id = msgspec.field(name="parent_asin")
    title: str | None = None


def read_amazon(source: Amazon, files: dict[str, Path]) -> RawData:
    """Read Amazon reviews: JSON lines, but for the metadata of 2014, which are Python literals."""
    tally = Tally()
    if source.kind == "amazon-2023":
        reviews = collect(json_lines(files["reviews"], AmazonReview2023, tally), ticks=1000)
        items = json_lines(files["metadata"], AmazonItem2023, tally)
        return of_reviewed(reviews, ((row.item, row.title) for row in flat(items)), tally)
    reviews = collect(json_lines(files["reviews"], AmazonReview, tally))
    read_items = literal_lines if source.kind == "amazon-2014" else json_lines
    items = read_items(files["metadata"], AmazonItem, tally)
    return of_reviewed(reviews, ((row.item, row.title) for row in flat(items)), tally)


# Steam -------------------------------------------------------------------------------------------


class SteamReview(msgspec.Struct, gc=False):
    """A review of a game; Steam's reviews bear a day and no rating."""

    user: Id = msgspec.field(name="username")
    item: Id = msgspec.field(name="product_id")
    date: Id
    rating: ClassVar[None] = None

    @property
    def timestamp(self) -> int:
        """UTC seconds of the day's beginning."""
        return int(iso_seconds(self.date))

    def __post_init__(self) -> None:
        """Refuse a date that is none."""
        iso_seconds(self.date)


class SteamGame(msgspec.Struct, gc=False):
    """A metadata row of a game."""

    item: Id = msgspec.field(name="id")
    title: str | None = None
    app_name: str | None = None


def read_steam(source: Steam, files: dict[str, Path]) -> RawData:
    """Read Steam's reviews and games: lines of Python literals; a user is a user name."""
    tally = Tally()
    reviews = collect(literal_lines(files["reviews"], SteamReview, tally))
    games = literal_lines(files["metadata"], SteamGame, tally)
    titles = ((game.item, game.title or game.app_name) for game in flat(games))
    return of_reviewed(reviews, titles, tally)


def iso_seconds(text: str) -> float:
    """UTC seconds of an ISO 8601 date or time; one without a zone is UTC.

    Raises:
        ValueError: it is none, or lies before 1970.
    """
    time = datetime.fromisoformat(text)
    seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    if seconds < 0:
        raise ValueError(f"Expected a time >= 1970: {text}")
    return seconds


# MovieLens ---------------------------------------------------------------------------------------


class MovieLensRating(msgspec.Struct, kw_only=True):
    """A rating; RecBole writes its time as a float."""

    timestamp: Annotated[float, msgspec.Meta(ge=0, le=253_402_300_799)]
    rating: float | None = None

    def __post_init__(self) -> None:
        """Refuse NaN, which is neither too small nor too big."""
        if not isfinite(self.timestamp):
            raise ValueError("the time is not finite")


class RecBoleRating(MovieLensRating, kw_only=True):
    """A rating as RecBole names its columns."""

    user: Id = msgspec.field(name="user_id")
    item: Id = msgspec.field(name="item_id")


class RecBoleItem(msgspec.Struct):
    """A film as RecBole names its columns."""

    item: Id = msgspec.field(name="item_id")
    title: str | None = msgspec.field(name="movie_title", default=None)
    year: str | None = msgspec.field(name="release_year", default=None)


def read_movielens_wheel(source: MovieLensWheel, files: dict[str, Path]) -> RawData:
    """Read a MovieLens set that a wheel holds as RecBole's atomic files."""
    tally = Tally()
    with _archive(files["wheel"]) as archive:

        def rows(member: str, kind: type) -> Iterator[Any]:
            if member not in archive.namelist():
                ending = Path(member).suffix
                found = sorted(name for name in archive.namelist() if name.endswith(ending))
                raise InputError(
                    f"{files['wheel']}: holds no '{member}'; mend the source's name; found {found}"
                )
            with archive.open(member) as stream:
                text = as_text(stream, "utf-8")
                yield from delimited(text, files["wheel"], member, kind, tally, tabbed)

        reviews = collect(batched(rows(f"{source.name}.inter", RecBoleRating)))
        titles = (
            (row.item, spoken_title(row.title, row.year))
            for row in rows(f"{source.name}.item", RecBoleItem)
        )
        return of_reviewed(reviews, titles, tally)


class GroupLensRating(MovieLensRating, kw_only=True):
    """A rating as GroupLens names its columns."""

    user: Id = msgspec.field(name="userId")
    item: Id = msgspec.field(name="movieId")


class GroupLensItem(msgspec.Struct):
    """A film as GroupLens names its columns."""

    item: Id = msgspec.field(name="movieId")
    title: str | None = None


class MovieLensLayout(NamedTuple):
    """How an archive of GroupLens' is laid out; a file without a header has its columns here."""

    films: str
    split_ratings: Split
    split_films: Split
    rating_columns: list[str] | None
    film_columns: list[str] | None


_RATING = ["userId", "movieId", "rating", "timestamp"]
#: The layouts by the name of the ratings: MovieLens-100K, 1M and 10M, 20M and later.
MOVIELENS_LAYOUTS = {
    "u.data": MovieLensLayout(
        "u.item", tabbed, parted("|"), _RATING, ["movieId", "title", *map(str, range(22))]
    ),
    "ratings.dat": MovieLensLayout(
        "movies.dat", parted("::"), parted("::"), _RATING, ["movieId", "title", "genres"]
    ),
    "ratings.csv": MovieLensLayout("movies.csv", comma_separated, comma_separated, None, None),
}


def read_movielens_zip(source: MovieLensZip, files: dict[str, Path]) -> RawData:
    """Read a MovieLens set from GroupLens' own archive, in any of its layouts."""
    path, tally = files["archive"], Tally()
    with _archive(path) as archive:
        members = {Path(name).name: name for name in archive.namelist()}
        ratings = next((name for name in MOVIELENS_LAYOUTS if name in members), "")
        layout = MOVIELENS_LAYOUTS.get(ratings)
        if layout is None or layout.films not in members:
            pairs = [f"{name} and {known.films}" for name, known in MOVIELENS_LAYOUTS.items()]
            raise InputError(
                f"{path}: holds no MovieLens set, which is one of {pairs}; found "
                f"{sorted(members)[:20]}"
            )

        def rows(name: str, kind: type, split: Split, columns: list[str] | None) -> Iterator[Any]:
            with archive.open(members[name]) as stream:
                text = as_text(stream, _encoding(archive.read(members[layout.films])))
                yield from delimited(text, path, name, kind, tally, split, columns)

        reviews = collect(
            batched(rows(ratings, GroupLensRating, layout.split_ratings, layout.rating_columns))
        )
        films = rows(layout.films, GroupLensItem, layout.split_films, layout.film_columns)
        titles = ((row.item, spoken_title(*title_and_year(row.title or ""))) for row in films)
        return of_reviewed(reviews, titles, tally)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with reading(path), zipfile.ZipFile(path) as archive:
        yield archive


def _encoding(films: bytes) -> str:
    """Encoding of an archive's text: the older sets are in Latin-1."""
    try:
        films.decode("utf-8")
    except UnicodeDecodeError:
        return "latin-1"
    return "utf-8"


def title_and_year(text: str) -> tuple[str, str | None]:
    """Part GroupLens' "M (1931)" into title and year.

    >>> title_and_year("Seven (Se7en) (1995)")
    ('Seven (Se7en)', '1995')
    """
    found = re.fullmatch(r"(.*?) *\((\d{4})\) *", text)
    return (found[1], found[2]) if found else (text, None)


def spoken_title(title: str | None, year: str | None) -> str | None:
    """The title as spoken.

    A title of one letter keeps its year: D3's rule against such titles is aimed at noise, and this
    one names a film.
    """
    if title is None:
        return None
    spoken = article_first(title)
    return f"{spoken} ({year})" if len(spoken) == 1 and year else spoken


def article_first(title: str) -> str:
    """Put a trailing English article in front, as in speech.

    >>> article_first("Tin Drum, The (Blechtrommel, Die)")
    'The Tin Drum (Blechtrommel, Die)'
    """
    return re.sub(r"^([^()]+), (The|An|A)(?=$| \()", r"\2 \1", title)


# Local files -------------------------------------------------------------------------------------


def read_local(source: Local, files: dict[str, Path]) -> RawData:
    """Read any pair of JSON-lines, CSV, TSV or Parquet files by the given columns."""
    tally, columns = Tally(), source.columns
    rated = columns.rating is not None
    low, high, factor = TIMES[source.time]

    def normalise(row: Any) -> None:
        row.user, row.item = str(row.user), str(row.item)
        time = iso_seconds(row.timestamp) if isinstance(row.timestamp, str) else row.timestamp
        if not low <= time <= high:  # Neither is NaN.
            raise ValueError(f"Expected a time >= {low} and <= {high}: {time}")
        row.timestamp = round(time * factor)

    def rows(
        path: Path, fields: list[tuple[str, Any, Any]], **namespace: Any
    ) -> Iterator[list[Any]]:
        name = path.name.removesuffix(".gz")
        ending = Path(name).suffix
        # A cell is text; JSON and Parquet may hold numbers for ids.
        any_id = Id if ending in (".csv", ".tsv") else Id | int
        kind = msgspec.defstruct(
            "LocalRow",
            [(field, any_id if wanted is Id else wanted, given) for field, wanted, given in fields],
            namespace=namespace,
        )
        if ending in (".csv", ".tsv"):
            split = comma_separated if ending == ".csv" else tabbed
            with reading(path), open_bytes(path) as stream:
                text = as_text(stream, "utf-8")
                cells = delimited(text, path, path.name, kind, tally, split, complete=True)
                yield from batched(cells)
        elif ending == ".parquet":
            yield from batched(parquet_rows(path, kind, tally))
        else:
            yield from json_lines(path, kind, tally)

    name = msgspec.field
    reviews = collect(
        rows(
            files["reviews"],
            [
                ("user", Id, name(name=columns.user)),
                ("item", Id, name(name=columns.item)),
                (
                    "timestamp",
                    str if source.time == "iso" else int | float,
                    name(name=columns.time),
                ),
                *(
                    [("rating", float | None, name(name=columns.rating, default=None))]
                    if rated
                    else []
                ),
            ],
            __post_init__=normalise,
            **({} if rated else {"rating": None}),
        ),
        ticks=1000,
    )
    titles = rows(
        files["metadata"],
        [
            ("item", Id, name(name=columns.metadata_item)),
            ("title", str | None, name(name=columns.title, default=None)),
        ],
    )
    return of_reviewed(reviews, ((str(row.item), row.title) for row in flat(titles)), tally)


#: Least and greatest time of each way to write times, and its milliseconds.
TIMES = {
    "seconds": (0, 253_402_300_799, 1000),
    "milliseconds": (631_152_000_000, 253_402_300_799_999, 1),
    "iso": (0, 253_402_300_799, 1000),
}


# What the readers share --------------------------------------------------------------------------


def collect(batches: Iterable[Sequence[Review]], ticks: int = 1) -> Reviews:
    """Turn rows into arrays: 20 bytes a row plus the distinct ids."""
    users: defaultdict[str, int] = defaultdict(count().__next__)
    items: defaultdict[str, int] = defaultdict(count().__next__)
    user, item, rating, timestamp = array("i"), array("i"), array("f"), array("q")
    missing = float("nan")
    for rows in batches:
        user.extend([users[row.user] for row in rows])
        item.extend([items[row.item] for row in rows])
        rating.extend([missing if row.rating is None else row.rating for row in rows])
        timestamp.extend([int(row.timestamp) for row in rows])
    return Reviews(
        list(users),
        list(items),
        np.array(user, copy=False),
        np.array(item, copy=False),
        np.array(rating, copy=False),
        np.array(timestamp, copy=False),
        ticks,
    )


def of_reviewed(reviews: Reviews, titles: Iterable[Title], tally: Tally) -> RawData:
    """Keep the metadata rows of reviewed items: no other row can reach a result."""
    codes = {item: code for code, item in enumerate(reviews.items)}
    kept = [(codes[item], title) for item, title in titles if item in codes]
    return RawData(reviews, kept, tally)


READERS: dict[str, Callable[[Any, dict[str, Path]], RawData]] = {
    "amazon-2014": read_amazon,
    "amazon-2018": read_amazon,
    "amazon-2023": read_amazon,
    "steam": read_steam,
    "movielens-wheel": read_movielens_wheel,
    "movielens-zip": read_movielens_zip,
    "local": read_local,
}
