"""Raw reviews and metadata to interactions, catalogue and next-item examples."""

from __future__ import annotations

import logging
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa

from scripts.command import InputError, run
from scripts.contracts import CATALOGUE, EXAMPLES, INTERACTIONS, SPLITS
from scripts.data.checksums import checksum_of, difference
from scripts.data.lines import Tally
from scripts.data.raw import RawData, unpacked, users_of
from scripts.data.rules import (
    Examples,
    first_reviews,
    in_window,
    k_core,
    make_examples,
    popularity_groups,
    sortedness,
    split_bounds,
    tied_steps,
    time_order,
    usable_titles,
    year_earlier,
)
from scripts.data.settings import Preparation, Source, addresses, is_url
from scripts.data.sources import read
from scripts.files import write_json, write_table

log = logging.getLogger(__name__)

#: What often is behind malformed lines, by their reason.
HINTS = {
    "time out of range": "\nTimes out of range are often milliseconds where seconds are expected, "
    "or the reverse: look at the source's kind and its time",
    "not UTF-8": "\nText that is not UTF-8 is often latin-1 or cp1252: set the `encoding` (and "
    "`delimiter`) of a local source, or save the file as UTF-8",
}

#: Share of tied steps in the order of items or titles from which a file counts as sorted by them,
#: and how many steps are needed to tell. Without an order about half of them go either way.
SORTED, TOLD = 0.75, 30


def prepare(
    source: Source,
    files: dict[str, Path],
    settings: Preparation,
    output: Path,
    checksums: Path | None = None,
) -> None:
    """Prepare a data set by D3's rules.

    Writes `interactions.parquet`, `catalogue.parquet`, `examples/{train,valid,test}.parquet` and,
    last, `preparation.json` with what was read, what was dropped and why, and what remains.

    Args:
        source: Where the data come from, and how they are laid out.
        files: The source's local files: `reviews` and `metadata`, `archive`, or `wheel`.
        settings: The rules' settings.
        output: Folder of the prepared data set.
        checksums: Lock file of the downloads' checksums; a file that was put here by hand must be
            the one that was downloaded before.
    """
    with ThreadPoolExecutor(1) as pool:  # Beside the reading, which keeps one core busy.
        sums = {name: pool.submit(checksum_of, path) for name, path in files.items()}
        raw = read(source, files)
    found = {name: future.result() for name, future in sums.items()}
    check_malformed(raw.tally, settings.max_malformed_share)
    if not raw.titles:
        raise InputError(
            f"{', '.join(str(path) for path in files.values())}: no metadata row belongs to any of "
            f"the {len(raw.reviews.items)} reviewed items; do the files belong together?"
        )
    # After reading, so that no damaged file is recorded as the right one.
    for name, [address, *_] in addresses(source).items():
        if checksums is not None and is_url(address):
            whole = not raw.tally.cut
            if fault := difference(address, files[name], found[name], checksums, learn=whole):
                raise InputError(fault)
    if raw.tally.cut:
        log.warning("A file ends inside a line that cannot be read: is it whole?")
    reviews_read, reviewed_items = len(raw.reviews.user), len(raw.reviews.items)
    kept = keep(raw, settings)
    user, item, rating, timestamp, user_names, item_names, *_ = kept
    tally = raw.tally
    del raw

    examples = make_examples(user, settings.max_history)
    bounds = split_bounds(len(examples.target))
    if 0 in np.diff(bounds):
        raise InputError(
            f"{len(user)} interactions and {len(examples.target)} examples remain, too few to "
            "split 80/10/10; widen preparation.start and .end or lower preparation.k_core"
        )
    target, history = item[examples.target], item[examples.history]
    train_count = np.bincount(target[: bounds[1]], minlength=len(item_names))

    interactions = pd.DataFrame(
        {
            "user": user_names[user],
            "item": item_names[item],
            "rating": rating,
            "timestamp": timestamp,
        }
    )
    write_table(interactions, output / "interactions.parquet", INTERACTIONS)
    del interactions
    items = pd.DataFrame(
        {
            "item_id": np.arange(len(item_names)),
            "item": item_names,
            "title": kept.titles,
            "train_count": train_count,
            "popularity_group": popularity_groups(train_count),
        }
    )
    write_table(items, output / "catalogue.parquet", CATALOGUE)
    frame = pd.DataFrame(
        {
            "example_id": np.arange(len(target)),
            "user": user_names[user[examples.target]],
            "history": _lists(examples.offsets, history),
            "target": target,
            "timestamp": timestamp[examples.target],
        }
    )
    for split, begin, stop in zip(SPLITS, bounds, bounds[1:], strict=False):
        write_table(frame[begin:stop], output / "examples" / f"{split}.parquet", EXAMPLES)
    users, items_left = len(user_names), len(item_names)
    shared = Counter(kept.titles)
    write_json(
        {
            "raw_sha256": {name: checksum.sha256 for name, checksum in found.items()},
            "lines": {"read": tally.lines, "malformed": tally.malformed},
            "first_malformed": tally.first,
            "ratings_that_are_no_number": tally.ratings,
            "reviews_read": reviews_read,
            "dropped_reviews": kept.dropped_reviews,
            "reviewed_items": reviewed_items,
            "dropped_items": kept.dropped_items,
            "metadata_rows_that_disagree": kept.disagreeing,
            "window": {"start": kept.start, "end": settings.end},
            "items_that_share_a_title": sum(n for n in shared.values() if n > 1),
            "titles_of_several_items": sum(n > 1 for n in shared.values()),
            "tied_steps": kept.tied_steps,
            "interactions": len(user),
            "users": users,
            "items": items_left,
            "density": len(user) / (users * items_left),
            "splits": describe_splits(
                examples, bounds, user, target, history, train_count, kept.tied
            ),
        },
        output / "preparation.json",
    )
    log.info("%d interactions, %d users, %d items", len(user), users, items_left)


def check_malformed(tally: Tally, max_share: float) -> None:
    """Report malformed lines, and fail where they are too many.

    Raises:
        InputError: more than `max_share` of the lines are malformed.
    """
    malformed = tally.malformed.total()
    if not malformed:
        return
    reasons = ", ".join(f"{count} {why}" for why, count in tally.malformed.most_common())
    shown = "\n".join(tally.first)
    message = (
        f"{malformed} of {tally.lines} lines are malformed ({reasons}), the first ones:\n{shown}"
    )
    if malformed > max_share * tally.lines:
        hint = "".join(text for reason, text in HINTS.items() if tally.malformed[reason])
        raise InputError(
            f"{message}{hint}\nThat is more than preparation.max_malformed_share {max_share:g}; "
            "mend the files or raise the share"
        )
    log.warning("%s", message)


class Kept(NamedTuple):
    """What the filters leave of the raw reviews, in time order."""

    user: np.ndarray
    """int32, codes of the reviews' users, by first appearance."""
    item: np.ndarray
    """int32, their item ids."""
    rating: np.ndarray
    """float32, NaN where missing."""
    timestamp: np.ndarray
    """int64, UTC seconds."""
    users: np.ndarray
    """Source ids of the users by code."""
    items: np.ndarray
    """Source ids of the items by item id, which follows their sorted order."""
    titles: list[str]
    """Clean titles by item id."""
    start: str | None
    """First month of the window after widening."""
    dropped_reviews: dict[str, int]
    """Reviews that fell out, by the first rule that they failed."""
    dropped_items: Counter[str]
    """Reviewed items that fell out for their titles, by reason."""
    disagreeing: int
    """Metadata rows whose title is another than that of an earlier row of their item."""
    tied: np.ndarray
    """bool by review, whether it has the same time as its user's one before."""
    tied_steps: dict[str, Any]
    """Whence such reviews have their order, and how far it is that of items and titles."""


def keep(raw: RawData, settings: Preparation) -> Kept:
    """Apply the window, the title rules and the k-core, widening the window as D3 does.

    The titles of `raw` are used up.

    Raises:
        InputError: nothing is left.
    """
    _, items, hashed, item, rating, timestamp, ticks = raw.reviews
    titles, dropped_items, disagreeing = usable_titles(
        unpacked(raw.titles), len(items), settings.max_title_words, settings.max_title_characters
    )
    titled = np.array([title is not None for title in titles])
    start, drop = settings.start, settings.repeated_reviews == "drop"
    while True:
        usable = in_window(timestamp, start, settings.end, ticks)
        inside = usable.sum()
        usable &= titled[item]
        # Users who share a hash only add rows to a core, so that few users must be told apart.
        rows = np.flatnonzero(usable) if drop else k_core(hashed, item, settings.k_core, usable)
        users, user = users_of(raw.reviews, rows)
        distinct = np.ones(len(rows), bool)
        if drop:
            distinct = first_reviews(user, item[rows], timestamp[rows], distinct)
        core = k_core(user, item[rows], settings.k_core, distinct)
        rows, user = rows[core], user[core]
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
            f"none of {len(item)} reviews is left after the window {start} to {settings.end}, the "
            f"title rules and the {settings.k_core}-core; mend preparation.start, .end or .k_core"
        )
    counts = [len(item), inside, usable.sum(), (distinct if drop else usable).sum(), len(rows)]
    reasons = [
        "outside the window",
        "item without a usable title",
        "repeated review",
        "below the k-core",
    ]
    dropped_reviews = {
        reason: int(before - after)
        for reason, before, after in zip(reasons, counts, counts[1:], strict=False)
    }
    if not drop:
        del dropped_reviews["repeated review"]
    order = time_order(user, timestamp[rows], settings.tie_seed)
    rows, user = rows[order], user[order]
    kept_user, user_codes = pd.factorize(user)
    item_codes = sorted(np.unique(item[rows]).tolist(), key=items.__getitem__)
    item_ids = np.empty(len(items), np.int32)
    item_ids[item_codes] = np.arange(len(item_codes), dtype=np.int32)
    before, after = tied_steps(user, timestamp[rows])
    tied = np.zeros(len(rows), bool)
    tied[after] = True
    names = {
        "item": [items[code] for code in item_codes],
        "title": [titles[code] for code in item_codes],
    }
    ids = item_ids[item[rows]]
    in_order_of = {of: sortedness(texts, ids[before], ids[after]) for of, texts in names.items()}
    by = [of for of, share in in_order_of.items() if len(after) >= TOLD and share >= SORTED]
    if by:
        log.warning(
            "the order of %d steps between reviews of one time is that of the file, which is "
            "sorted by %s: it tells nothing of taste; preparation.tie_seed draws it",
            len(after),
            " and ".join(by),
        )
    return Kept(
        kept_user.astype(np.int32),
        ids,
        rating[rows],
        timestamp[rows] // np.int64(ticks),
        np.array([users[code] for code in user_codes.tolist()], object),
        np.array(names["item"], object),
        names["title"],
        start,
        dropped_reviews,
        dropped_items,
        disagreeing,
        tied,
        {
            "order": "file" if settings.tie_seed is None else f"seed {settings.tie_seed}",
            "in_order_of": in_order_of,
            "sorted_by": " and ".join(by) or "neither item nor title",
        },
    )


def describe_splits(
    examples: Examples,
    bounds: list[int],
    user: np.ndarray,
    target: np.ndarray,
    history: np.ndarray,
    train_count: np.ndarray,
    tied: np.ndarray,
) -> dict[str, dict[str, Any]]:
    """Sizes of the splits, and what makes their examples hard or easy.

    Args:
        examples: All examples, as rows of the interactions.
        bounds: Where the splits begin and end.
        user: int32, user code of each interaction.
        target: int32, item id of each example's target.
        history: int32, item ids of the histories, laid end to end.
        train_count: int, training targets of each item.
        tied: bool by interaction, whether it has the same time as its user's one before.
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
            "tied_targets": int(np.sum(tied[examples.target[begin:stop]])),
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
