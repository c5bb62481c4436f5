"""What a model is shown at test time: the history, none, another user's, or in another order."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scripts.command import InputError
from scripts.decode.settings import History


def replace_histories(examples: pd.DataFrame, history: History, seed: int) -> pd.DataFrame:
    """The examples with the histories that a model is shown.

    The same for every model, as they depend on the examples and the seed alone. `wrong` says
    nothing of the target: another user's history may hold it as any other item.

    Args:
        examples: EXAMPLES rows of one split or a sub-sample.
        history: `with` each example's own history, `without` any, the `wrong` one of `others`, or
            its own one `shuffled`, see `reordered`.
        seed: of the choice and of the order.

    Raises:
        InputError: more than half of the examples are of one user, so that not each can get
            another user's history.
    """
    own = examples["history"]
    if history == "with":
        return examples
    if history == "without":
        histories = [np.empty(0, np.int32)] * len(own)
    elif history == "wrong":
        histories = own.iloc[others(examples["user"], own.map(len).to_numpy(), seed)].tolist()
    else:
        numbers = examples["example_id"]
        histories = [reordered(row, [seed, i]) for row, i in zip(own, numbers, strict=True)]
    return examples.assign(history=pd.Series(histories, examples.index, object))


def others(users: pd.Series, lengths: np.ndarray, seed: int) -> np.ndarray:
    """For each example another one, of another user and of a similar length; each once.

    The examples of each length hand their histories around in a random ring. Whoever gets one of
    the same user so swaps with another example: of those where the swap leaves neither with its
    own user the one where it changes the two lengths least, ties by the lower row. With at most
    half of the examples of one user there always is one.

    Args:
        users: (n,) whose example each is.
        lengths: (n,) items of their histories.
        seed: of the rings.

    Returns:
        (n,) int64, a permutation: whose history each example gets.

    Raises:
        InputError: more than half of the examples are of one user.
    """
    user, names = pd.factorize(users)
    counts = np.bincount(user)
    if 2 * counts.max() > len(user):
        raise InputError(
            f"history wrong: user {names[counts.argmax()]} has {counts.max()} of the {len(user)} "
            "test examples, so that not each can get another user's history; raise test_examples, "
            "or leave out the history 'wrong'"
        )
    ring = np.lexsort([np.random.default_rng(seed).random(len(user)), lengths])
    giver = np.empty(len(user), np.int64)
    for same in np.split(ring, np.flatnonzero(np.diff(lengths[ring])) + 1):
        giver[same] = np.roll(same, 1)
    for row in np.flatnonzero(user[giver] == user):
        if user[giver[row]] != user[row]:  # An earlier swap has helped.
            continue
        fits = (user != user[row]) & (user[giver] != user[row])
        change = np.abs(lengths[giver] - lengths[row]) + np.abs(lengths - lengths[giver[row]])
        partner = np.where(fits, change, np.inf).argmin()
        giver[[row, partner]] = giver[[partner, row]]
    return giver


def reordered(items: np.ndarray, seed: list[int]) -> np.ndarray:
    """The items in a random order other than their own; as they are where there is no other."""
    if len(set(items.tolist())) < 2:
        return items
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(items)
        if (order != items).any():
            return order


def unchanged(examples: pd.DataFrame, replaced: pd.DataFrame) -> int:
    """How many examples still have exactly their own history."""
    pairs = zip(examples["history"], replaced["history"], strict=True)
    return sum(np.array_equal(own, other) for own, other in pairs)
