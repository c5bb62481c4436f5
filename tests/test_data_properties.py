"""Properties of the whole preparation, on made-up reviews of any shape."""

import itertools
import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from scripts.command import InputError
from scripts.contracts import CATALOGUE, INTERACTIONS
from scripts.data.prepare import prepare
from scripts.data.settings import Preparation
from scripts.files import read_table
from tests.small_data import AMAZON, raw_files, read_splits

pytestmark = pytest.mark.slow

TITLES = "".join(f'{{"asin": "i{item}", "title": "Title {item}"}}\n' for item in range(6))

#: (user, item), one review each; its time is given by its place.
reviews = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=25, max_size=60)
rules = st.builds(
    Preparation,
    start=st.none(),
    end=st.none(),
    minimum_items=st.just(0),
    k_core=st.integers(1, 3),
    max_history=st.integers(1, 4),
    repeated_reviews=st.sampled_from(["keep", "drop"]),
)


def prepared(rows, chosen):
    """Interactions, items and splits of reviews (user, item, time)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = raw_files(folder, ".json")
        written = [
            json.dumps({"reviewerID": f"u{u}", "asin": f"i{i}", "unixReviewTime": t})
            for u, i, t in rows
        ]
        files["reviews"].write_text("\n".join(written) + "\n")
        files["metadata"].write_text(TITLES)
        try:
            prepare(AMAZON, files, chosen, folder / "out")
        except InputError:
            return None
        return (
            read_table(folder / "out" / "interactions.parquet", INTERACTIONS),
            read_table(folder / "out" / "catalogue.parquet", CATALOGUE),
            read_splits(folder / "out"),
        )


@settings(max_examples=40)
@given(reviews, rules, st.lists(st.integers(0, 8), min_size=60, max_size=60))
def test_no_history_looks_ahead_and_splits_follow_in_time(pairs, chosen, times):
    found = prepared([(u, i, t) for (u, i), t in zip(pairs, times, strict=False)], chosen)
    assume(found is not None)
    interactions, items, splits = found
    assert interactions.groupby("user").size().min() >= chosen.k_core
    assert interactions.groupby("item").size().min() >= chosen.k_core
    examples = pd.concat(splits)
    assert examples["timestamp"].is_monotonic_increasing
    assert all(
        before["timestamp"].max() <= after["timestamp"].min()
        for before, after in itertools.pairwise(splits)
    )
    source = items["item"].tolist()
    for example in examples.itertuples():
        own = interactions[interactions["user"] == example.user]
        reached = own[own["timestamp"] <= example.timestamp]["item"].tolist()
        assert 1 <= len(example.history) <= chosen.max_history
        for item in [*example.history, example.target]:  # Each a review of its own.
            reached.remove(source[item])
    if chosen.repeated_reviews == "drop":
        assert not interactions.duplicated(["user", "item"]).any()


@settings(max_examples=25)
@given(reviews, rules, st.randoms(use_true_random=False))
def test_the_order_of_lines_with_distinct_times_changes_nothing(pairs, chosen, random):
    rows = [(u, i, t) for t, (u, i) in enumerate(pairs)]
    found = prepared(rows, chosen)
    assume(found is not None)
    random.shuffle(rows)
    again = prepared(rows, chosen)
    for one, other in zip([*found[:2], *found[2]], [*again[:2], *again[2]], strict=True):
        pd.testing.assert_frame_equal(one, other)
