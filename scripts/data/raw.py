"""Raw data as every reader gives them: arrays of reviews, and the titles of the reviewed items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain, compress, count
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np

from scripts.data.lines import Tally, batched


class Review(Protocol):
    """What every reader yields of a review; the time is in ticks, see `Reviews`."""

    user: str
    item: str
    timestamp: int
    rating: float | None


#: What every reader yields of a metadata row: the item's source id and its raw title.
Title = tuple[str, str | None]


class Reviews(NamedTuple):
    """Reviews as parallel arrays in file order."""

    users: list[bytes]
    """Source ids of the reviews' users, many packed as one, see `users_of`."""
    items: list[str]
    """Source ids of the items, by code."""
    user: np.ndarray
    """uint32, a hash of each review's user, at most half their number."""
    item: np.ndarray
    """int32, code of each review's item, by first appearance."""
    rating: np.ndarray
    """float32, NaN where missing."""
    timestamp: np.ndarray
    """UTC, in ticks of the source's own resolution: uint32 where all fit, else int64."""
    ticks: int
    """Ticks in a second: 1, or 1,000 where the source gives milliseconds."""


class RawData(NamedTuple):
    """Everything that the preparation needs to know of a source."""

    reviews: Reviews
    titles: list[bytes]
    """Metadata rows of the reviewed items in file order, many packed as one, see `unpacked`: the
    item's code and its raw title."""
    tally: Tally


def collect(batches: Iterable[Sequence[Review]], ticks: int = 1) -> Reviews:
    """Turn rows into arrays: 16 to 20 bytes a row plus the ids. Users are not told apart yet."""
    users = []
    items: defaultdict[str, int] = defaultdict(count().__next__)
    kinds = (np.uint32, np.int32, np.float32, np.int64)
    columns = [bytearray() for _ in kinds]
    for rows in batches:
        ids = [row.user for row in rows]
        users.append(msgspec.msgpack.encode(ids))
        values = (
            np.fromiter(map(hash, ids), np.int64, len(ids)),
            [items[row.item] for row in rows],
            [row.rating for row in rows],
            [row.timestamp for row in rows],
        )
        with np.errstate(over="ignore"):  # A rating may be too big.
            for column, kind, given in zip(columns, kinds, values, strict=True):
                column.extend(np.asarray(given).astype(kind))
    user, item, rating, timestamp = map(np.frombuffer, columns, kinds)
    user %= len(user) // 2 + 1  # Few enough to count by them.
    if timestamp.max(initial=0) <= np.iinfo(np.uint32).max:
        timestamp = timestamp.astype(np.uint32)
    return Reviews(users, list(items), user, item, rating, timestamp, ticks)


def users_of(reviews: Reviews, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
    """The users of some reviews.

    Args:
        reviews: The reviews.
        rows: int64 [n], ascending.

    Returns:
        Source ids of these users by code, and int32 [n], the code of each row's user.
    """
    chosen = bytearray(len(reviews.user))
    np.frombuffer(chosen, bool)[rows] = True
    ids = chain.from_iterable(map(msgspec.msgpack.decode, reviews.users))
    codes: defaultdict[str, int] = defaultdict(count().__next__)
    user = [codes[name] for name in compress(ids, chosen)]
    return list(codes), np.array(user, np.int32)


def of_reviewed(reviews: Reviews, titles: Iterable[Title], tally: Tally) -> RawData:
    """Keep the metadata rows of reviewed items: no other row can reach a result."""
    codes = {item: code for code, item in enumerate(reviews.items)}
    kept = ((codes[item], title) for item, title in titles if item in codes)
    return RawData(reviews, [msgspec.msgpack.encode(rows) for rows in batched(kept)], tally)


def unpacked(blocks: list[bytes]) -> Iterator[Any]:
    """What is packed, many in a block; the list is used up, so that no row is held twice."""
    while blocks:
        yield from msgspec.msgpack.decode(blocks.pop(0))


def iso_seconds(text: str) -> float:
    """UTC seconds of an ISO 8601 date or time; one without a zone is UTC.

    Raises:
        ValidationError: it is none, or lies before 1970.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise msgspec.ValidationError(f"Expected an ISO 8601 time, got {text!r}") from error
    seconds = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    if seconds < 0:
        raise msgspec.ValidationError(f"Expected a time >= 1970: {text}")
    return seconds
