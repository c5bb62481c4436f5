"""Raw reviews and metadata to interactions, catalogue and next-item examples."""

from __future__ import annotations

import logging
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from scripts.command import InputError, run
from scripts.contracts import EXAMPLES, INTERACTIONS, ITEMS
from scripts.data.rules import (
    Examples,
    in_window,
    k_core,
    make_examples,
    popularity_groups,
    split_bounds,
    time_order,
    usable_titles,
    year_earlier,
)
from scripts.data.settings import Preparation
from scripts.data.sources import RawData, Tally, read_amazon_2018, read_movielens_wheel
from scripts.files import write_json, write_table

log = logging.getLogger(__name__)

SPLITS = ("train", "valid", "test")


def prepare(
    kind: Literal["amazon-2018", "movielens-wheel"],
    settings: Preparation,
    output: Path,
    reviews: Path | None = None,
    metadata: Path | None = None,
    wheel: Path | None = None,
    name: str | None = None,
) -> None:
    """Prepare a data set by D3's rules.

    Writes `interactions.parquet`, `items.parquet`, `examples/{train,valid,test}.parquet` and, last,
    `preparation.json` with what was read, what was dropped and why, and what remains.

    Args:
        kind: Kind of the source.
        settings: The rules' settings.
        output: Folder of the prepared data set.
        reviews: Reviews of an amazon-2018 source.
        metadata: Metadata of an amazon-2018 source.
        wheel: Wheel of a movielens-wheel source.
        name: Path of the files inside the wheel, without their endings.
    """
    if kind == "amazon-2018":
        if reviews is None or metadata is None:
            raise InputError("kind amazon-2018 needs --reviews and --metadata")
        raw = read_amazon_2018(reviews, metadata)
    else:
        if wheel is None or name is None:
            raise InputError("kind movielens-wheel needs --wheel and --name")
        raw = read_movielens_wheel(wheel, name)
    check_malformed(raw.tally, settings.max_malformed_share)

    kept = keep(raw, settings)
    rows = kept.rows[time_order(raw.reviews.user[kept.rows], raw.reviews.timestamp[kept.rows])]
    user, timestamp = raw.reviews.user[rows], raw.reviews.timestamp[rows]
    codes = np.array(sorted(np.unique(raw.reviews.item[rows]), key=raw.reviews.items.__getitem__))
    item_ids = np.empty(len(raw.reviews.items), np.int32)
    item_ids[codes] = np.arange(len(codes), dtype=np.int32)
    item = item_ids[raw.reviews.item[rows]]

    examples = make_examples(user, settings.max_history)
    bounds = split_bounds(len(examples.target))
    if 0 in np.diff(bounds):
        raise InputError(
            f"{len(rows)} interactions and {len(examples.target)} examples remain, too few to "
            "split 80/10/10; widen preparation.start and .end or lower preparation.k_core"
        )
    target, history = item[examples.target], item[examples.history]
    train_count = np.bincount(target[: bounds[1]], minlength=len(codes))
    titles = [kept.titles[code] for code in codes]

    user_names = np.array(raw.reviews.users, dtype=object)[user]
    item_names = np.array(raw.reviews.items, dtype=object)[codes]
    interactions = pd.DataFrame(
        {
            "user": user_names,
            "item": item_names[item],
            "rating": raw.reviews.rating[rows],
            "timestamp": timestamp,
        }
    )
    write_table(interactions, output / "interactions.parquet", INTERACTIONS)
    items = pd.DataFrame(
        {
            "item_id": np.arange(len(codes)),
            "item": item_names,
            "title": titles,
            "train_count": train_count,
            "popularity_group": popularity_groups(train_count),
        }
    )
    write_table(items, output / "items.parquet", ITEMS)
    frame = pd.DataFrame(
        {
            "example_id": np.arange(len(target)),
            "user": user_names[examples.target],
            "history": _lists(examples.offsets, history),
            "target": target,
            "timestamp": timestamp[examples.target],
        }
    )
    for split, begin, stop in zip(SPLITS, bounds, bounds[1:], strict=False):
        write_table(frame[begin:stop], output / "examples" / f"{split}.parquet", EXAMPLES)
    users = len(np.unique(user))
    write_json(
        {
            "lines_read": raw.tally.lines,
            "malformed_lines": raw.tally.malformed,
            "first_malformed": raw.tally.first,
            "reviews_read": len(raw.reviews.user),
            "dropped_reviews": kept.dropped_reviews,
            "dropped_items": kept.dropped_items,
            "window": {"start": kept.start, "end": settings.end},
            "interactions": len(rows),
            "users": users,
            "items": len(codes),
            "density": len(rows) / (users * len(codes)),
            "mean_title_words": float(np.mean([len(title.split()) for title in titles])),
            "splits": describe_splits(examples, bounds, user, target, history, train_count),
        },
        output / "preparation.json",
    )
    log.info("%d interactions, %d users, %d items", len(rows), users, len(codes))


def check_malformed(tally: Tally, max_share: float) -> None:
    """Report malformed lines, and fail where they are too many.

    Raises:
        InputError: more than `max_share` of the lines are malformed.
    """
    if not tally.malformed:
        return
    shown = "\n".join(tally.first)
    message = f"{tally.malformed} of {tally.lines} lines are malformed, the first ones:\n{shown}"
    if tally.malformed > max_share * tally.lines:
        raise InputError(
            f"{message}\nThat is more than preparation.max_malformed_share {max_share:g}; "
            "mend the files or raise the share"
        )
    log.warning("%s", message)


class Kept(NamedTuple):
    """What the filters leave of the raw reviews."""

    rows: np.ndarray
    """int64, rows of the kept reviews, in file order."""
    titles: dict[int, str]
    """Clean titles by item code, of every item with a usable one."""
    start: str | None
    """First month of the window after widening."""
    dropped_reviews: dict[str, int]
    """Reviews that fell out, by the first rule that they failed."""
    dropped_items: Counter[str]
    """Reviewed items that fell out for their titles, by reason."""


def keep(raw: RawData, settings: Preparation) -> Kept:
    """Apply the window, the title rules and the k-core, widening the window as D3 does.

    Raises:
        InputError: nothing is left.
    """
    _, items, user, item, _, timestamp = raw.reviews
    titles, dropped_items = usable_titles(raw.titles, len(items), settings.max_title_words)
    titled = np.zeros(len(items), bool)
    titled[list(titles)] = True
    start = settings.start
    while True:
        inside = np.flatnonzero(in_window(timestamp, start, settings.end))
        usable = inside[titled[item[inside]]]
        rows = usable[k_core(user[usable], item[usable], settings.k_core)]
        remaining = len(np.unique(item[rows]))
        earlier = start and year_earlier(start)
        if remaining >= settings.minimum_items or not earlier:
            break
        log.info("%d items remain from %s on: starting in %s", remaining, start, earlier)
        start = earlier
    if remaining < settings.minimum_items:
        log.warning("%d items remain, fewer than %d", remaining, settings.minimum_items)
    if not len(rows):
        raise InputError(
            f"none of {len(user)} reviews is left after the window {start} to {settings.end}, the "
            f"title rules and the {settings.k_core}-core; mend preparation.start, .end or .k_core"
        )
    dropped_reviews = {
        "outside the window": len(user) - len(inside),
        "item without a usable title": len(inside) - len(usable),
        "below the k-core": len(usable) - len(rows),
    }
    return Kept(rows, titles, start, dropped_reviews, dropped_items)


def describe_splits(
    examples: Examples,
    bounds: list[int],
    user: np.ndarray,
    target: np.ndarray,
    history: np.ndarray,
    train_count: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Sizes of the splits, and what makes their examples hard or easy.

    Args:
        examples: All examples, as rows of the interactions.
        bounds: Where the splits begin and end.
        user: int32, user code of each interaction.
        target: int32, item id of each example's target.
        history: int32, item ids of the histories, laid end to end.
        train_count: int, training targets of each item.
    """
    lengths = np.diff(examples.offsets)
    # Every history holds at least one item, so no segment of the reduction is empty.
    repeated = np.logical_or.reduceat(history == np.repeat(target, lengths), examples.offsets[:-1])
    users = user[examples.target]
    train_users = np.unique(users[: bounds[1]])
    return {
        split: {
            "examples": stop - begin,
            "users": len(np.unique(users[begin:stop])),
            "users_without_training_example": len(np.setdiff1d(users[begin:stop], train_users)),
            "cold_targets": int(np.sum(train_count[target[begin:stop]] == 0)),
            "targets_in_history": int(np.sum(repeated[begin:stop])),
            "mean_history_length": float(np.mean(lengths[begin:stop])),
        }
        for split, begin, stop in zip(SPLITS, bounds, bounds[1:], strict=False)
    }


def _lists(offsets: np.ndarray, values: np.ndarray) -> pd.api.extensions.ExtensionArray:
    """A column of lists, without one Python object per list."""
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.int32()))
    return pd.arrays.ArrowExtensionArray(lists)


if __name__ == "__main__":
    run(prepare)
