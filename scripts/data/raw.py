"""Raw data as every reader gives them: arrays of reviews, and the titles of the reviewed items."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from scripts.data.lines import Tally


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
