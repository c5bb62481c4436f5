"""D3's rules against brute force and hand-worked cases."""

from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.data import rules

#: Reviews: user, item, and whether they may survive.
pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6), st.booleans()), max_size=80)


@given(pairs, st.integers(1, 5), st.integers(1, 9))
def test_k_core_is_the_largest_part_with_k_rows_each(rows, k, at_once):
    left = [i for i, row in enumerate(rows) if row[2]]
    while True:  # One offender at a time, the slow way round.
        users, items = Counter(rows[i][0] for i in left), Counter(rows[i][1] for i in left)
        bad = [i for i in left if users[rows[i][0]] < k or items[rows[i][1]] < k]
        if not bad:
            break
        left.remove(bad[0])
    user, item, among = np.array(rows, np.int32).reshape(-1, 3).T
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "COUNTED_AT_ONCE", at_once)
        assert rules.k_core(user, item, k, among.astype(bool)).tolist() == left


@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3, st.booleans()), max_size=40))
def test_first_reviews_are_the_earliest_of_their_pair(rows):
    user, item, timestamp, among = np.array(rows, np.int32).reshape(-1, 4).T
    expected = set()
    for pair in {row[:2] for row in rows}:
        own = [(row[2], i) for i, row in enumerate(rows) if row[:2] == pair and row[3]]
        expected |= {min(own)[1]} if own else set()
    found = rules.first_reviews(user, item, timestamp, among.astype(bool))
    assert set(np.flatnonzero(found)) == expected


def test_window_is_utc_and_holds_both_boundary_seconds():
    first = int(datetime(2017, 10, 1, tzinfo=UTC).timestamp())
    last = int(datetime(2018, 11, 1, tzinfo=UTC).timestamp())
    times = np.array([first - 1, first, last, last + 1])
    assert rules.month_start("2017-10") == first == 1_506_816_000
    assert rules.in_window(times, "2017-10", "2018-11").tolist() == [False, True, True, False]
    assert rules.in_window(times, None, "2018-11").tolist() == [True, True, True, False]
    assert rules.in_window(times, "2017-10", None).tolist() == [False, True, True, True]


SCRIPTS = [
    "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();",
    "ue_t0=(new Date()).getTime();",
    "(function(d){ x })",
    "P.when('A').execute(f)",
    ".a-box{color:red}",
    "<script>x",
]
LIKE_SCRIPTS = [
    *("Let It Be", "Let x=1", "P.D. James (Set)", "function keys (2)", ".hack {G.U.}"),
    "@Work: 9-5",
]


@pytest.mark.parametrize(
    ("raw", "title", "fault"),
    [
        (' "Quoted &amp; escaped" ', "Quoted & escaped", None),
        ("&quot;Entities&quot;", "Entities", None),
        ('" stays "', " stays ", None),
        ("&lt;kept&gt;", "&lt;kept&gt;", None),
        ("", "", "no title"),
        (' "" ', "", "no title"),
        ("X", "X", "title of one character"),
        ('"Y"', "Y", "title of one character"),
        ('<span id="t">Name', '<span id="t">Name', "markup in the title"),
        ("a b  c", "a b  c", "title too long"),  # Two blanks part an empty word.
        ("a b c", "a b c", None),
        ("Cafe\u0301", "Caf\u00e9", None),
        ("e\u0301", "\u00e9", "title of one character"),
        ("x" * 1000, "x" * 1000, None),
        ("\u9650" * 1001, "\u9650" * 1001, "title over 1,000 characters"),
        *[(script, script, "script as the title") for script in SCRIPTS],
        *[(title, title, None) for title in LIKE_SCRIPTS],
    ],
)
def test_titles(raw, title, fault):
    assert rules.clean_title(raw) == title
    assert rules.title_fault(title, max_words=3, max_characters=1000) == fault


def test_one_bad_copy_removes_the_item_else_the_last_title_wins():
    rows = [(0, "First"), (1, "Good"), (2, "Ab"), (1, "<span id="), *[(0, "Last")] * 2, (3, None)]
    titles, reasons, disagreeing = rules.usable_titles(rows, 5, max_words=20, max_characters=1000)
    assert titles == ["Last", None, "Ab", None, None]
    assert reasons == {"markup in the title": 1, "no title": 1, "no metadata": 1}
    assert disagreeing == 3


def test_ties_in_time_go_by_the_first_appearance_of_the_user_and_then_by_row():
    user = np.array([7, 3, 3, 7, 5], np.int32)
    timestamp = np.array([9, 9, 9, 9, 1])
    assert rules.time_order(user, timestamp).tolist() == [4, 0, 3, 1, 2]


def test_a_seed_draws_the_order_of_ties_and_nothing_else():
    user = np.tile(np.array([7, 3], np.int32), 50)
    timestamp = np.repeat([2, 1], 50)
    drawn = [rules.time_order(user, timestamp, seed) for seed in (0, 0, 1)]
    assert drawn[0].tolist() == drawn[1].tolist() != drawn[2].tolist()
    for order in drawn:
        assert timestamp[order].tolist() == [1] * 50 + [2] * 50
        assert user[order].tolist() == ([7] * 25 + [3] * 25) * 2
        assert order.tolist() != rules.time_order(user, timestamp).tolist()


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30))
def test_tied_steps_are_those_that_take_a_user_no_time(rows):
    rows.sort(key=lambda row: row[1])
    expected, last = [], {}
    for row, (user, time) in enumerate(rows):
        if user in last and rows[last[user]][1] == time:
            expected.append((last[user], row))
        last[user] = row
    user, time = np.array(rows, np.int32).reshape(-1, 2).T
    found = rules.tied_steps(user, time)
    assert sorted(zip(*(rows.tolist() for rows in found), strict=True)) == sorted(expected)


def test_sortedness_orders_digits_as_numbers_and_counts_no_step_to_the_same_text():
    before, after = np.array([0, 1, 2, 2]), np.array([1, 2, 0, 2])
    assert rules.sortedness(["9", "10", "11"], before, after) == 2 / 3
    assert rules.sortedness(["9", "10", "a"], before, after) == 2 / 3
    assert rules.sortedness(["b", "b", "b"], before, after) == 0.5


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(1, 4))
def test_examples_are_every_position_with_the_last_items_before_it(users, max_history):
    examples = rules.make_examples(np.array(users, np.int32), max_history)
    expected = []
    for row, user in enumerate(users):
        earlier = [i for i in range(row) if users[i] == user]
        if earlier:
            expected.append((row, earlier[-max_history:]))
    histories = np.split(examples.history, examples.offsets[1:-1]) if expected else []
    assert [(t, h.tolist()) for t, h in zip(examples.target, histories, strict=True)] == expected


def test_split_is_80_10_10_rounded_down():
    assert rules.split_bounds(98_344) == [0, 78_675, 88_509, 98_344]


def test_popularity_groups_are_equally_large_with_ties_by_item():
    counts = np.array([3, 0, 0, 9, 1, 0, 5, 5, 2, 0])
    assert rules.popularity_groups(counts).tolist() == [3, 0, 0, 4, 2, 1, 3, 4, 2, 1]
