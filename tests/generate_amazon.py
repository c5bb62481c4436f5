"""Made-up reviews in the raw layout of Amazon 2018, with something to learn in them.

The items form series, and a user mostly moves on to the next part of a series. Nothing here comes
from real data. `python -m tests.generate_amazon --folder x --users 60 --items 60 --seed 0`
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from isal import igzip

from scripts.command import run
from scripts.data.rules import month_start

DAY = 86_400
#: Probability that a user goes on with the next part of the series.
FOLLOWS = 0.8
PARTS = 6
FIRST = ["Amber", "Broken", "Crimson", "Distant", "Endless", "Frozen", "Golden", "Hidden"]
SECOND = ["Harbour", "Island", "Lantern", "Mountain", "Orchard", "River", "Signal", "Tower"]


def generate(folder: Path, users: int, items: int, seed: int, reviews: int = 12) -> None:
    """Write `reviews.json.gz` and `meta.json.gz` with all usual fields, in a mixed order.

    One review in a hundred is repeated, one metadata row in ten too; four more items have the bad
    titles that D3's rules remove. All times lie in the window 2017-10 to 2018-11.

    Args:
        folder: Where the two files go.
        users: Number of users.
        items: Number of items with a good title.
        seed: Seed of everything random.
        reviews: Mean reviews of a user.
    """
    rng = np.random.default_rng(seed)
    rows = walks(rng, users, items, reviews)
    bad = np.column_stack(  # Reviews of the four items with bad titles.
        [rng.integers(users, size=24), items + np.arange(24) % 4, rng.integers(300, size=24)]
    )
    rows = np.concatenate([rows, bad, rows[:: 100 if len(rows) > 100 else 10]])
    lines = [_review(*row) for row in rng.permutation(rows).tolist()]
    metadata = [_metadata(item, title_of(item)) for item in range(items)]
    metadata += metadata[::10]
    bad_titles = [None, '<span id="productTitle">', "X", " ".join(["word"] * 25)]
    metadata += [_metadata(items + i, title) for i, title in enumerate(bad_titles)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (("reviews", lines), ("meta", metadata)):
        with igzip.open(folder / f"{name}.json.gz", "wb") as stream:
            stream.write(b"\n".join(content) + b"\n")


def walks(rng: np.random.Generator, users: int, items: int, reviews: int) -> np.ndarray:
    """Rows of (user, item, day), users in order, each user's days in order."""
    lengths = rng.integers(reviews - 4, reviews + 5, size=users)
    user = np.repeat(np.arange(users), lengths)
    anywhere = rng.integers(items, size=len(user))
    follows = rng.random(len(user)) < FOLLOWS
    follows[np.r_[0, np.cumsum(lengths)[:-1]]] = False
    item = np.empty_like(anywhere)
    for i in range(len(user)):
        item[i] = _next_part(int(item[i - 1]), items) if follows[i] else anywhere[i]
    day = rng.integers(395, size=len(user))
    return np.column_stack([user, item, day[np.lexsort((day, user))]])


def _next_part(item: int, items: int) -> int:
    """The next part of the series, and after the last part the first again."""
    begin = item - item % PARTS
    return begin + (item - begin + 1) % min(PARTS, items - begin)


def _review(user: int, item: int, day: int) -> bytes:
    seconds = month_start("2017-10") + day * DAY
    return msgspec.json.encode(
        {
            "overall": float(1 + (user + item) % 5),
            "verified": True,
            "reviewTime": datetime.fromtimestamp(seconds, UTC).strftime("%m %d, %Y"),
            "reviewerID": f"U{user:07d}",
            "asin": f"B{item:07d}",
            "style": {"Format:": " Paperback"},
            "reviewerName": f"Reader {user}",
            "reviewText": "It kept me awake until the last page, and I want to read the next one.",
            "summary": "Could not stop",
            "unixReviewTime": seconds,
        }
    )


def title_of(item: int) -> str:
    series, part = divmod(item, PARTS)
    name = f"{FIRST[series % len(FIRST)]} {SECOND[series // len(FIRST) % len(SECOND)]}"
    number = series // (len(FIRST) * len(SECOND))
    return f"&quot;{name}{f' {number}' if number else ''} &amp; Co, Part {part + 1}&quot; "


def _metadata(item: int, title: str | None) -> bytes:
    row: dict[str, Any] = {
        "category": ["Books", "Fiction"],
        "description": ["A part of a series."],
        "brand": "",
        "also_buy": [],
        "price": "",
        "asin": f"B{item:07d}",
    }
    return msgspec.json.encode(row if title is None else row | {"title": title})


if __name__ == "__main__":
    run(generate)
