"""Millions of made-up reviews in the raw layout of Amazon 2018, quickly.

Users and items follow power laws, a user is active for some months, the file is in the order of its
items as the real ones are, one row in a hundred is repeated, some titles are bad and some metadata
rows repeated. The words are made up, drawn so that a review takes about as many bytes gzipped as in
the real files. `tests.generate_amazon` makes the tiny sets that have something to learn in them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal import igzip_threaded

from scripts.command import run
from scripts.data.rules import month_start
from scripts.files import atomic
from tests.generate_amazon import DAY

#: The density of ranks falls as rank ** -exponent.
USER_EXPONENT, ITEM_EXPONENT = 0.6, 0.7
#: Mean age of a user's reviews at the end of the data, and their spread around it, in years.
MEAN_AGE, SPREAD = 3.0, 0.3
FIRST, LAST = month_start("1996-06"), month_start("2018-10") + DAY
#: One metadata row in this many is bad, and one is repeated.
BAD_TITLE, REPEATED = 50, 20
BAD_TITLES = ["", '<span id=\\"productTitle\\">', "X", " ".join(["word"] * 25)]
#: Lines made at once.
BLOCK = 50_000
#: Words of the text that all reviews are cut from, of the vocabulary, and of the longest review.
WORDS, VOCABULARY, LONGEST = 1_000_000, 20_000, 1_500
#: The words of a review are log-normal with this mean of logarithms and deviation 1.
MEAN_LOG_WORDS = 3.05
WORD_EXPONENT = 0.6

REVIEW = (
    '{"overall": %d.0, "verified": true, "reviewTime": "%s", "reviewerID": "%s", "asin": "%s", '
    '"style": {"Format:": " Paperback"}, "reviewerName": "%s", "reviewText": "%s", '
    '"summary": "%s", "unixReviewTime": %d}\n'
)
ITEM = (
    '{"category": ["Books", "Fiction"], "tech1": "", "description": ["%s"], "fit": "", '
    '"title": "%s", "also_buy": ["%s", "%s", "%s"], "tech2": "", "brand": "%s", "feature": [], '
    '"rank": "1,234,567 in Books (", "also_view": ["%s", "%s"], "main_cat": "Books", '
    '"similar_item": "", "date": "", "price": "$9.99", "asin": "%s", "imageURL": [], '
    '"imageURLHighRes": []}\n'
)


def generate(folder: Path, reviews: int, users: int, items: int, seed: int = 0) -> None:
    """Write `reviews.json.gz` and `meta.json.gz`.

    Args:
        folder: Where the files go.
        reviews: Number of reviews, repeated ones included.
        users: Size of the pool that users are drawn from; not all of them appear.
        items: Size of the pool of items; each has a metadata row.
        seed: Seed of everything random.
    """
    rng = np.random.default_rng(seed)
    text = _text(rng)
    with atomic(folder) as partial:
        partial.mkdir()
        rows = _interactions(rng, reviews, users, items)
        with igzip_threaded.open(partial / "reviews.json.gz", "wb", 3, threads=1) as stream:
            for begin in range(0, reviews, BLOCK):
                block = [column[begin : begin + BLOCK] for column in rows]
                stream.write(_reviews(rng, text, *block))
        item = np.r_[np.arange(items), rng.integers(items, size=items // REPEATED)]
        with igzip_threaded.open(partial / "meta.json.gz", "wb", 3, threads=1) as stream:
            for begin in range(0, len(item), BLOCK):
                stream.write(_metadata(rng, text, item[begin : begin + BLOCK], items))


def _interactions(
    rng: np.random.Generator, reviews: int, users: int, items: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """User, item and day of each review, in the order of the items."""
    repeated = reviews // 100
    n = reviews - repeated
    user = _power_law(rng, n, users, USER_EXPONENT)
    item = np.sort(_power_law(rng, n, items, ITEM_EXPONENT))
    age = rng.exponential(MEAN_AGE, users)[user] + rng.normal(0, SPREAD, n)
    day = (np.maximum(LAST - np.abs(age) * 365.25 * DAY, FIRST) // DAY).astype(np.int32)
    again = np.sort(np.r_[np.arange(n), rng.integers(n, size=repeated)])
    return user[again], item[again], day[again]


def _power_law(rng: np.random.Generator, n: int, size: int, exponent: float) -> np.ndarray:
    """Ranks 0..size-1 whose density falls as rank ** -exponent, int32 [n]."""
    return (size * rng.random(n) ** (1 / (1 - exponent))).astype(np.int32)


class Text(NamedTuple):
    """A long text that is already escaped for JSON, and where its words begin."""

    text: str
    begins: list[int]

    def cut(self, word: int, words: int) -> str:
        """Some words from a given one on."""
        return self.text[self.begins[word] : self.begins[word + words] - 1]


def _text(rng: np.random.Generator) -> Text:
    letters = rng.choice(list("etaoinshrdlucmwfgyp"), size=VOCABULARY * 12)
    lengths = rng.integers(2, 12, size=VOCABULARY)
    vocabulary = ["".join(letters[12 * i : 12 * i + lengths[i]]) for i in range(VOCABULARY)]
    vocabulary[50:53] = ["don't", '\\"great\\"', "caf\\u00e9"]  # Escaped as in a JSON text.
    drawn = _power_law(rng, WORDS + LONGEST, VOCABULARY, WORD_EXPONENT).tolist()
    words = [vocabulary[i] for i in drawn]
    begins = np.cumsum([0] + [len(word) + 1 for word in words])
    return Text(" ".join(words), begins.tolist())


def _reviews(
    rng: np.random.Generator, text: Text, user: np.ndarray, item: np.ndarray, day: np.ndarray
) -> bytes:
    n = len(user)
    word = rng.integers(WORDS, size=(2, n)).tolist()
    # Most reviews are short, a few very long.
    length = np.minimum(rng.lognormal(MEAN_LOG_WORDS, 1.0, n).astype(int) + 1, LONGEST).tolist()
    rating = (rng.choice(5, size=n, p=[0.06, 0.05, 0.09, 0.2, 0.6]) + 1).tolist()
    days = np.unique(day).tolist()
    dates = {d: datetime.fromtimestamp(d * DAY, UTC).strftime("%m %d, %Y") for d in days}
    rows = zip(
        rating, day.tolist(), user.tolist(), item.tolist(), word[0], length, word[1], strict=True
    )
    lines = [
        REVIEW
        % (
            r,
            dates[d],
            user_id(u),
            item_id(i),
            _name(text, u),
            text.cut(a, w),
            text.cut(b, 3),
            d * DAY,
        )
        for r, d, u, i, a, w, b in rows
    ]
    return "".join(lines).encode()


def _metadata(rng: np.random.Generator, text: Text, item: np.ndarray, items: int) -> bytes:
    n = len(item)
    word = rng.integers(WORDS, size=(3, n)).tolist()
    words = rng.integers(1, 13, size=n).tolist()
    others = rng.integers(items, size=(n, 5)).tolist()
    lines = []
    for i, a, b, c, w, other in zip(item.tolist(), *word, words, others, strict=True):
        title = f" &quot;{text.cut(a, w)} &amp; {i}&quot;"
        if i % BAD_TITLE == BAD_TITLE - 1:
            title = BAD_TITLES[i // BAD_TITLE % len(BAD_TITLES)]
        ids = [item_id(o) for o in other]
        lines.append(
            ITEM % (text.cut(b, 40), title, *ids[:3], text.cut(c, 2), *ids[3:], item_id(i))
        )
    return "".join(lines).encode()


def user_id(code: int) -> str:
    """Fourteen characters as random as the real ids, and distinct: the factor is odd."""
    return f"A{code * 0x9E3779B97F4A7 % 2**52:013X}"


def item_id(code: int) -> str:
    """Ten characters, in the order of the codes."""
    return f"B{code:09d}"


def _name(text: Text, user: int) -> str:
    return text.cut(user % WORDS, 2)


if __name__ == "__main__":
    run(generate)
