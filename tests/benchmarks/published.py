"""D3's preparation of Amazon reviews, written plainly from its description (docs/paper.md §4).

It is the yardstick of the raw-data benchmark and an independent oracle for `scripts.data.prepare`,
so it shares nothing with that code: every line of both files becomes a dict and stays in a list,
the filters count in dicts, the window widens by recursion, the examples repeat titles, ratings and
times in their histories, and the csv module writes them. One thing is not as published: times are
UTC, where D3 takes the machine's time zone.
"""

from __future__ import annotations

import csv
import gzip
import json
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.command import run

#: No window starts before this year.
FIRST_YEAR = 1996

COLUMNS = [
    *("user_id", "item_asins", "item_asin", "history_item_id", "item_id", "history_item_title"),
    *("item_title", "history_rating", "rating", "history_timestamp", "timestamp"),
]

Row = dict[str, Any]


def prepare_as_published(
    reviews: Path,
    metadata: Path,
    output: Path,
    start: str = "2017-10",
    end: str = "2018-11",
    minimum_items: int = 10_000,
    k_core: int = 5,
    max_title_words: int = 20,
    max_history: int = 10,
) -> None:
    """Write `train.csv`, `valid.csv` and `test.csv` as D3 does.

    Args:
        reviews: Gzipped JSON lines with `reviewerID, asin, overall, unixReviewTime`.
        metadata: Gzipped JSON lines with `asin, title`.
        output: Folder of the three files.
        start: First month of the window.
        end: The window ends at the first second of this month, which still belongs to it.
        minimum_items: While fewer remain, the window starts one year earlier.
        k_core: Least reviews of every user and of every item.
        max_title_words: Items with a longer title are dropped.
        max_history: Longest history.
    """
    all_metadata = read(metadata)
    all_reviews = read(reviews)
    kept, titles = keep(
        all_metadata, all_reviews, start, end, minimum_items, k_core, max_title_words
    )
    examples = make_examples(kept, titles, max_history)
    output.mkdir(parents=True, exist_ok=True)
    first, second = int(0.8 * len(examples)), int(0.9 * len(examples))
    write(examples[:first], output / "train.csv")
    write(examples[first:second], output / "valid.csv")
    write(examples[second:], output / "test.csv")


def read(path: Path) -> list[Row]:
    """All lines of a file as dicts."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def first_second(month: str) -> float:
    """UTC seconds at which a month such as `2017-10` begins."""
    year, number = month.split("-")
    return datetime(int(year), int(number), 1, tzinfo=UTC).timestamp()


def find_titles(metadata: list[Row], max_words: int) -> dict[str, str]:
    """Titles by item; one bad copy removes an item, else its last row wins.

    The cleaning changes the rows themselves, so a wider window cleans every title once more (D3).
    """
    titles = {}
    removed = set()
    for row in metadata:
        item = row["asin"]
        title = row.get("title")
        if title is None or "<span id" in title:
            removed.add(item)
            continue
        title = title.replace("&quot;", '"').replace("&amp;", "&").strip(" ").strip('"')
        row["title"] = title
        if len(title) > 1 and len(title.split(" ")) <= max_words:
            titles[item] = title
        else:
            removed.add(item)
    return {item: title for item, title in titles.items() if item not in removed}


def keep(
    metadata: list[Row],
    reviews: list[Row],
    start: str,
    end: str,
    minimum_items: int,
    k_core: int,
    max_words: int,
) -> tuple[list[Row], dict[str, str]]:
    """The reviews that pass all filters, in file order, and the titles by item."""
    titles = find_titles(metadata, max_words)
    begin, stop = first_second(start), first_second(end)
    kept = [
        review
        for review in reviews
        if begin <= review["unixReviewTime"] <= stop and review["asin"] in titles
    ]
    while True:
        users: dict[str, int] = defaultdict(int)
        items: dict[str, int] = defaultdict(int)
        for review in kept:
            users[review["reviewerID"]] += 1
            items[review["asin"]] += 1
        if len(items) < minimum_items and int(start[:4]) > FIRST_YEAR:
            earlier = f"{int(start[:4]) - 1}{start[4:]}"
            return keep(metadata, reviews, earlier, end, minimum_items, k_core, max_words)
        few_users = {user for user, count in users.items() if count < k_core}
        few_items = {item for item, count in items.items() if count < k_core}
        if not few_users and not few_items:
            return kept, titles
        kept = [
            review
            for review in kept
            if review["reviewerID"] not in few_users and review["asin"] not in few_items
        ]


def make_examples(kept: list[Row], titles: dict[str, str], max_history: int) -> list[list[Any]]:
    """One row of `COLUMNS` for every review of a user but the first, by the target's time.

    Sorting is stable: ties within a user keep the order of the file, ties between users the order
    in which the users first appear among the kept reviews.
    """
    ids: dict[str, int] = {}
    by_user = defaultdict(list)
    for review in kept:
        item = review["asin"]
        ids.setdefault(item, len(ids))
        by_user[review["reviewerID"]].append(
            (item, review.get("overall"), review["unixReviewTime"])
        )
    examples = []
    for user, sequence in by_user.items():
        sequence.sort(key=lambda entry: entry[2])
        for i in range(1, len(sequence)):
            history = sequence[max(0, i - max_history) : i]
            item, rating, timestamp = sequence[i]
            examples.append(
                [
                    user,
                    [asin for asin, _, _ in history],
                    item,
                    [ids[asin] for asin, _, _ in history],
                    ids[item],
                    [titles[asin] for asin, _, _ in history],
                    titles[item],
                    [score for _, score, _ in history],
                    rating,
                    [time for _, _, time in history],
                    timestamp,
                ]
            )
    examples.sort(key=lambda example: example[-1])
    return examples


def write(examples: list[list[Any]], path: Path) -> None:
    """Write examples with their header; histories become Python lists as text."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(examples)


if __name__ == "__main__":
    run(prepare_as_published)
