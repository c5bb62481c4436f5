"""The conditions of the probe: none, another user's history, another order."""

from collections import Counter

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.command import InputError
from scripts.decode.histories import replace_histories, unchanged


def examples(users, histories, first=0):
    return pd.DataFrame(
        {
            "example_id": range(first, first + len(users)),
            "user": list(users),
            "history": [np.array(history, np.int32) for history in histories],
            "target": 0,
        }
    )


def lists(frame):
    return [tuple(history) for history in frame["history"]]


@st.composite
def samples(draw):
    """Examples of which at most every second is of the same user, each history once."""
    counts = draw(st.lists(st.integers(1, 6), min_size=2, max_size=8))
    while max(counts) * 2 > sum(counts):
        counts.append(1)
    users = draw(st.permutations([user for user, n in enumerate(counts) for _ in range(n)]))
    lengths = draw(st.lists(st.integers(1, 4), min_size=len(users), max_size=len(users)))
    return examples(users, [[10 * row + i for i in range(n)] for row, n in enumerate(lengths)])


@given(samples(), st.integers(0, 3))
def test_wrong_histories_are_another_user_s_each_once(frame, seed):
    own = lists(frame)
    changed = lists(replace_histories(frame, "wrong", seed))
    assert Counter(changed) == Counter(own)
    user = dict(zip(own, frame["user"], strict=True))
    assert all(user[history] != mine for history, mine in zip(changed, frame["user"], strict=True))
    assert lists(replace_histories(frame, "wrong", seed)) == changed


def test_wrong_histories_are_as_long_where_they_can_be():
    """Single users, two of each length but one: that one swaps with a neighbour in length."""
    frame = examples("abcdefg", [[1], [2], [3, 3, 3], [4, 5], [6, 7], [1, 2, 3, 4], [4, 3, 2, 1]])
    changed = lists(replace_histories(frame, "wrong", 0))
    change = [len(a) - len(b) for a, b in zip(lists(frame), changed, strict=True)]
    assert np.abs(change).sum() == 2
    assert np.abs(change).max() == 1


def test_half_of_the_examples_of_one_user_is_the_most():
    frame = examples("aabc", [[1], [2], [3], [4]])
    assert set(lists(replace_histories(frame, "wrong", 0))[:2]) == {(3,), (4,)}
    for users in ("aaab", "aaaa", "a"):
        with pytest.raises(InputError, match=f"user a has {users.count('a')} of the {len(users)}"):
            replace_histories(examples(users, [[i] for i in range(len(users))]), "wrong", 0)


@given(st.lists(st.lists(st.integers(0, 3), max_size=5), min_size=1, max_size=6))
def test_shuffled_histories_hold_the_same_items_in_another_order(histories):
    frame = examples(["u"] * len(histories), histories)
    found = lists(replace_histories(frame, "shuffled", 0))
    for own, other in zip(lists(frame), found, strict=True):
        assert Counter(other) == Counter(own)
        assert (other != own) == (len(set(own)) > 1)
    assert unchanged(frame, replace_histories(frame, "shuffled", 0)) == sum(
        len(set(own)) < 2 for own in lists(frame)
    )


def test_an_order_is_the_example_s_and_not_the_sample_s():
    frame = examples("abc", [range(8)] * 3, first=5)
    whole, last = (
        replace_histories(frame, "shuffled", 0),
        replace_histories(frame.iloc[2:], "shuffled", 0),
    )
    assert lists(whole)[2:] == lists(last)
    assert len(set(lists(whole))) == 3
    assert lists(replace_histories(frame, "shuffled", 1)) != lists(whole)


def test_every_order_but_its_own_comes_up():
    frame = examples(["u"] * 300, [[1, 2, 3]] * 300)
    counts = Counter(lists(replace_histories(frame, "shuffled", 0)))
    assert len(counts) == 5
    assert min(counts.values()) > 30


def test_without_and_with():
    frame = examples("ab", [[1, 2], [3]])
    assert lists(replace_histories(frame, "without", 0)) == [(), ()]
    assert lists(replace_histories(frame, "with", 0)) == lists(frame)
    assert unchanged(frame, replace_histories(frame, "without", 0)) == 0
