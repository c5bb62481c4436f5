"""D3's rules (docs/paper.md §4) as functions on arrays; times are UTC where D3's are local."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

#: No window starts before this year (D3).
FIRST_YEAR = 1996

#: Number of popularity groups.
GROUPS = 5

CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")

#: The text of a page's script or style sheet, where Amazon's crawler took that for a title.
SCRIPT = re.compile(
    r"\s*(?:<(?:script|style|!--)|(?:var|let|const)\s+[\w$]+\s*=|(?:window|document)\.\w+.*[=(]"
    r"|P\.\w+\(|\(?function\s*\w*\([^)]*\)\s*\{|[.#@][\w-]+[^{}]*\{[^{}]*:)"
)

COUNTED_AT_ONCE = 1 << 20


def month_start(month: str) -> int:
    """UTC seconds of the beginning of a month such as `2017-10`."""
    return int(datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).timestamp())


def in_window(
    timestamp: np.ndarray, start: str | None, end: str | None, ticks: int = 1
) -> np.ndarray:
    """Which times lie in the window.

    Args:
        timestamp: int [n], UTC, in ticks.
        start: First month; null sets no bound.
        end: Month at whose beginning the window ends; that very second still belongs to it, as in
            D3's code. Null sets no bound.

    Returns:
        bool [n].
    """
    inside = np.ones(len(timestamp), bool)
    if start is not None:
        inside &= timestamp >= month_start(start) * ticks
    if end is not None:
        inside &= timestamp <= month_start(end) * ticks
    return inside


def year_earlier(month: str) -> str | None:
    """The same month of the year before, or null where D3 stops widening."""
    year = int(month[:4])
    return f"{year - 1:04d}{month[4:]}" if year > FIRST_YEAR else None


def clean_title(raw: str) -> str:
    """Unescape the two entities that D3 does, then strip blanks, then quotes.

    Beyond D3's rules, texts that are the same in Unicode become one (NFC): titles are told apart by
    their text.
    """
    raw = unicodedata.normalize("NFC", raw)
    return raw.replace("&quot;", '"').replace("&amp;", "&").strip(" ").strip('"')


def one_line(title: str) -> str:
    """Control characters, tabs and line ends as blanks: a title is one line of a prompt.

    D3 leaves them in; its rules have been applied before, so that they find what D3 finds.
    """
    return (title if title.isprintable() else CONTROL.sub(" ", title)).strip()


def title_fault(title: str | None, max_words: int, max_characters: int) -> str | None:
    """Why a clean title disqualifies its item, or null; words are parted by single blanks.

    Beyond D3's rules, the text of a script is no title, and neither is one of more characters.
    """
    if not title or not one_line(title):
        return "no title"
    if "<span id" in title:
        return "markup in the title"
    if "new Date(" in title or ".getTime()" in title or SCRIPT.match(title):
        return "script as the title"
    if len(title) == 1:
        return "title of one character"
    if len(title.split(" ")) > max_words:
        return "title too long"
    if len(title) > max_characters:
        return f"title over {max_characters:,} characters"
    return None


def usable_titles(
    rows: Iterable[tuple[int, str | None]], items: int, max_words: int, max_characters: int
) -> tuple[list[str | None], Counter[str], int]:
    """The title of each item that may stay in the catalogue.

    Of repeated rows, one bad copy removes the item; else the last title wins (D3's code).

    Args:
        rows: Item code and raw title of each metadata row.
        items: Number of item codes.
        max_words: Longest title, in words.
        max_characters: Likewise in characters.

    Returns:
        Clean titles by item code, null where none is usable; how many items fell out for which
        reason; and how many rows disagree with an earlier one of their item.
    """
    titles: list[str | None] = [None] * items
    first: list[Any] = [...] * items
    faults: dict[int, str] = {}
    disagreeing = 0
    for item, raw in rows:
        title = None if raw is None else clean_title(raw)
        if first[item] is ...:
            first[item] = title
        disagreeing += first[item] != title
        fault = title_fault(title, max_words, max_characters)
        if fault is not None:
            faults.setdefault(item, fault)
        elif title is not None:
            titles[item] = one_line(title)
    for item in faults:
        titles[item] = None
    reasons = Counter(faults.values())
    reasons["no metadata"] = titles.count(None) - len(faults)
    return titles, reasons, disagreeing


def first_reviews(
    user: np.ndarray, item: np.ndarray, timestamp: np.ndarray, among: np.ndarray
) -> np.ndarray:
    """Which reviews are the first ones of their user and item; ties go to the earlier row.

    Args:
        user: int32 [n], codes.
        item: int32 [n], codes.
        timestamp: int [n].
        among: bool [n], the reviews that are looked at.

    Returns:
        bool [n], false wherever `among` is.
    """
    rows = np.flatnonzero(among)
    rows = rows[np.argsort(timestamp[rows], kind="stable")]
    pairs = user[rows].astype(np.int64) << 32 | item[rows]
    first = np.zeros(len(user), bool)
    first[rows[np.unique(pairs, return_index=True)[1]]] = True
    return first


def k_core(user: np.ndarray, item: np.ndarray, k: int, among: np.ndarray) -> np.ndarray:
    """Rows of the largest part in which every user and every item has at least k rows.

    Repeated reviews count as often as they occur (D3's code).

    Args:
        user: int32 [n], codes.
        item: int32 [n], codes.
        k: Least count.
        among: bool [n], the rows that may survive.

    Returns:
        int64 [m], the surviving rows in ascending order.
    """
    # The first round runs on masks, for few of a big file's reviews outlive it.
    enough = _often(user, k, among)[user]
    enough &= _often(item, k, among)[item]
    enough &= among
    rows = np.flatnonzero(enough)
    while True:
        users, items, left = user[rows], item[rows], np.ones(len(rows), bool)
        enough = _often(users, k, left)[users] & _often(items, k, left)[items]
        if enough.all():
            return rows
        rows = rows[enough]


def _often(codes: np.ndarray, k: int, among: np.ndarray) -> np.ndarray:
    """Which codes occur at least k times, bool by code; numpy picks in copies of 8 bytes a row, so
    the rows are counted part by part."""
    counts = np.zeros(int(codes.max(initial=0)) + 1, np.int32)
    for begin in range(0, len(codes), COUNTED_AT_ONCE):
        part = slice(begin, begin + COUNTED_AT_ONCE)
        np.add.at(counts, codes[part][among[part]], np.int32(1))
    return counts >= k


def time_order(user: np.ndarray, timestamp: np.ndarray, seed: int | None = None) -> np.ndarray:
    """Order by time; ties by the user's first appearance among these rows, then by row.

    Args:
        user: int32 [n], codes, in file order.
        timestamp: int [n].
        seed: Draws the order of a user's rows of one time, instead of taking that of the file.

    Returns:
        int64 [n], a permutation.
    """
    _, first, code = np.unique(user, return_index=True, return_inverse=True)
    rows = np.arange(len(user))
    if seed is not None:
        rows = np.random.default_rng(seed).permutation(rows)
    return np.lexsort((rows, first[code], timestamp))


def tied_steps(user: np.ndarray, timestamp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps of users from one interaction to the next that take no time.

    Args:
        user: int32 [n], the user of each interaction, in time order.
        timestamp: int [n].

    Returns:
        int64 [m] each, the rows before and after each step.
    """
    by_user = np.argsort(user, kind="stable")
    before, after = by_user[:-1], by_user[1:]
    tied = (user[before] == user[after]) & (timestamp[before] == timestamp[after])
    return before[tied], after[tied]


def sortedness(values: Sequence[str], before: np.ndarray, after: np.ndarray) -> float:
    """Share of the steps that follow the order of some texts, up or down, whichever is more.

    About a half where the texts decide nothing, and 0.5 where no step leads to another text.

    Args:
        values: The texts; if all are digits they are ordered as numbers.
        before: int [m], index of the text before each step.
        after: int [m], likewise after it.
    """
    keys = [int(text) for text in values] if all(map(str.isdecimal, values)) else list(values)
    rank = np.unique(np.array(keys, object), return_inverse=True)[1]
    up, down = np.sum(rank[before] < rank[after]), np.sum(rank[before] > rank[after])
    return float(max(up, down) / (up + down)) if up + down else 0.5


class Examples(NamedTuple):
    """Next-item examples; the history of example i is `history[offsets[i]:offsets[i + 1]]`."""

    target: np.ndarray
    """int64 [n], rows of the target interactions, ascending."""
    offsets: np.ndarray
    """int64 [n + 1]."""
    history: np.ndarray
    """int64 [sum of lengths], rows of the history interactions, oldest first."""


def make_examples(user: np.ndarray, max_history: int) -> Examples:
    """One example for every interaction of a user but the first, in time order (D3).

    Args:
        user: int32 [n], the user of each interaction, in time order.
        max_history: Longest history.
    """
    by_user = np.argsort(user, kind="stable")
    grouped = user[by_user]
    begins = np.r_[True, grouped[1:] != grouped[:-1]]
    place = np.arange(len(user))
    position = place - np.maximum.accumulate(np.where(begins, place, 0))
    # From "place in the users' sequences" back to "row of the interactions".
    place_of, position_of = np.empty_like(by_user), np.empty_like(by_user)
    place_of[by_user], position_of[by_user] = place, position
    target = np.flatnonzero(position_of > 0)
    lengths = np.minimum(position_of[target], max_history)
    offsets = np.r_[0, np.cumsum(lengths)]
    start = place_of[target] - lengths
    history = by_user[np.arange(offsets[-1]) + np.repeat(start - offsets[:-1], lengths)]
    return Examples(target, offsets, history)


def split_bounds(examples: int) -> list[int]:
    """Where train, valid and test begin and end: 80/10/10, rounded down (D3)."""
    return [0, int(0.8 * examples), int(0.9 * examples), examples]


def popularity_groups(train_count: np.ndarray) -> np.ndarray:
    """`GROUPS` groups of equally many items, 0 the rarest (docs/paper.md, section 7).

    Items of equal count that a border parts go to either side by item id, the lower one to the
    rarer group: equal sizes need a rule, and this one looks at nothing else.

    Args:
        train_count: int [items].

    Returns:
        int8 [items].
    """
    rank = np.empty(len(train_count), np.int64)
    rank[np.argsort(train_count, kind="stable")] = np.arange(len(train_count))
    return (rank * GROUPS // len(train_count)).astype(np.int8)
