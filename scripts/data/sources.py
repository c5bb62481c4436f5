"""Sources of raw data: each reader yields the same columns, in the order of its file.

A new source is one settings class (settings.py) and one reader here, entered in `READERS`.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import numpy as np

from scripts.command import InputError
from scripts.data.content import archive_of, as_text, foreign, head, reading
from scripts.data.lines import (
    Split,
    Tally,
    batched,
    delimited,
    json_lines,
    parted,
    separated,
    tabbed,
    typed,
)
from scripts.data.local import read_local
from scripts.data.raw import RawData, collect, iso_seconds, of_reviewed
from scripts.data.settings import Amazon, MovieLensWheel, MovieLensZip, Source, Steam

flat = chain.from_iterable

Id = Annotated[str, msgspec.Meta(min_length=1)]
#: UTC seconds up to the year 9999: a time in milliseconds is a malformed line.
Seconds = Annotated[int, msgspec.Meta(ge=0, le=253_402_300_799)]
#: UTC milliseconds since 1990: a time in seconds is a malformed line.
Milliseconds = Annotated[int, msgspec.Meta(ge=631_152_000_000, le=253_402_300_799_999)]


def read(source: Source, files: dict[str, Path]) -> RawData:
    """Read the raw files of a source, by the names that `addresses` of the settings gives them.

    Raises:
        InputError: a file is missing, empty, truncated or corrupt, or nothing that is read here.
    """
    raw = READERS[source.kind](source, files)
    endless = np.isinf(raw.reviews.rating)
    raw.reviews.rating[endless] = np.nan
    raw.tally.ratings += int(endless.sum())
    return raw


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
    """Read Amazon reviews: JSON lines; the metadata of 2014 are Python literals."""
    tally, kinds, ticks = Tally(), (AmazonReview, AmazonItem), 1
    if source.kind == "amazon-2023":
        kinds, ticks = (AmazonReview2023, AmazonItem2023), 1000
    reviews = collect(json_lines(files["reviews"], kinds[0], tally), ticks)
    items = json_lines(files["metadata"], kinds[1], tally)
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
    reviews = collect(json_lines(files["reviews"], SteamReview, tally))
    games = json_lines(files["metadata"], SteamGame, tally)
    titles = ((game.item, game.title or game.app_name) for game in flat(games))
    return of_reviewed(reviews, titles, tally)


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


def _named(cell: str) -> str:
    """The column's name in a header cell of RecBole's, such as `user_id:token`."""
    return cell.partition(":")[0]


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
                make = typed(kind, tally)
                yield from delimited(text, files["wheel"], member, *make, tally, tabbed, _named)

        reviews = collect(batched(rows(f"{source.name}.inter", RecBoleRating)))
        titles = (
            (row.item, spoken_title(row.title, row.year, source.years))
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
    "ratings.csv": MovieLensLayout("movies.csv", separated(), separated(), None, None),
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
                make = typed(kind, tally)
                yield from delimited(text, path, name, *make, tally, split, columns or str)

        reviews = collect(
            batched(rows(ratings, GroupLensRating, layout.split_ratings, layout.rating_columns))
        )
        films = rows(layout.films, GroupLensItem, layout.split_films, layout.film_columns)
        titles = (
            (row.item, spoken_title(*title_and_year(row.title or ""), source.years))
            for row in films
        )
        return of_reviewed(reviews, titles, tally)


@contextmanager
def _archive(path: Path) -> Iterator[zipfile.ZipFile]:
    with reading(path):
        begin = head(path)
        if not begin.startswith(b"PK") and (found := foreign(begin)):
            raise InputError(f"{path}: is {found}")
        with archive_of(path) as archive:
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


def spoken_title(
    title: str | None, year: str | None, years: Literal["drop", "keep"] = "drop"
) -> str | None:
    """The title as spoken, with its year where years are kept.

    A title of one letter keeps its year always: D3's rule against such titles is aimed at noise,
    and this one names a film.
    """
    if title is None:
        return None
    spoken = article_first(title)
    return f"{spoken} ({year})" if year and (years == "keep" or len(spoken) == 1) else spoken


def article_first(title: str) -> str:
    """Put a trailing English article in front, as in speech.

    >>> article_first("Tin Drum, The (Blechtrommel, Die)")
    'The Tin Drum (Blechtrommel, Die)'
    """
    return re.sub(r"^([^()]+), (The|An|A)(?=$| \()", r"\2 \1", title)


READERS: dict[str, Callable[[Any, dict[str, Path]], RawData]] = {
    "amazon-2014": read_amazon,
    "amazon-2018": read_amazon,
    "amazon-2023": read_amazon,
    "steam": read_steam,
    "movielens-wheel": read_movielens_wheel,
    "movielens-zip": read_movielens_zip,
    "local": read_local,
}
