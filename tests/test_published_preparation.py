"""The preparation against D3's published algorithm, written anew and plainly."""

import csv
import json
from ast import literal_eval

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import igzip

from scripts.command import InputError
from scripts.contracts import SPLITS
from scripts.data.export import export_d3
from scripts.data.prepare import prepare
from scripts.data.rules import month_start
from scripts.data.settings import Preparation
from scripts.files import read_json
from tests.benchmarks.published import prepare_as_published
from tests.generate_amazon import generate
from tests.small_data import AMAZON, raw_files

#: The settings that the published code has too; its window always has a start and an end.
RULES = ["start", "end", "minimum_items", "k_core", "max_title_words", "max_history"]


def rows(folder):
    """Splits in D3's columns, without the numbers of the items, which are each program's own."""
    splits = {}
    for split in SPLITS:
        with (folder / f"{split}.csv").open(encoding="utf-8", newline="") as stream:
            splits[split] = list(csv.DictReader(stream))
        for row in splits[split]:
            del row["history_item_id"], row["item_id"]
    return splits


def published(folder, rules):
    """The published splits."""
    settings = {name: getattr(rules, name) for name in RULES}
    prepare_as_published(*raw_files(folder).values(), folder / "published", **settings)
    return rows(folder / "published")


def ours(folder, rules):
    """Our splits in the same shape."""
    prepare(AMAZON, raw_files(folder), rules, folder / "ours")
    export_d3(folder / "ours", folder / "d3")
    return rows(folder / "d3")


def agree(folder, rules):
    """Check that both give the same splits, that no history looks ahead and splits follow in time,
    and return them; empty ones are refused by ours."""
    expected = published(folder, rules)
    if all(expected.values()):
        assert ours(folder, rules) == expected
        examples = [row for split in SPLITS for row in expected[split]]
        times = [int(row["timestamp"]) for row in examples]
        assert times == sorted(times)
        for row, time in zip(examples, times, strict=True):
            assert max(literal_eval(row["history_timestamp"])) <= time
    else:
        with pytest.raises(InputError, match=r"too few to split|is left after|no metadata row"):
            ours(folder, rules)
    return expected


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "rules",
    [
        {"minimum_items": 0},
        {"minimum_items": 0, "start": "2018-02", "end": "2018-08", "k_core": 3, "max_history": 4},
        {"minimum_items": 0, "max_title_words": 7, "k_core": 6},
    ],
    ids=["the published settings", "another window", "shorter titles"],
)
def test_made_up_reviews(tmp_path, seed, rules):
    generate(tmp_path, users=60, items=60, seed=seed)
    assert all(agree(tmp_path, Preparation(**rules)).values())


@pytest.mark.parametrize("seed", range(3))
def test_made_up_reviews_whose_window_widens(tmp_path, seed):
    generate(tmp_path, users=60, items=60, seed=seed)
    # Of 2018-07 to 2018-11 too little is left for a 5-core with 50 items; from 2017-07 on, enough.
    agree(tmp_path, Preparation(start="2018-07", minimum_items=50))
    report = read_json(tmp_path / "ours" / "preparation.json")
    assert report["window"]["start"] == "2017-07"


MAY = month_start("2018-05")
YEAR = month_start("2018-05") - month_start("2017-05")
#: Ties, border seconds of the windows, and one time in each of three years.
TIMES = [MAY - 2 * YEAR, MAY - YEAR, MAY - 1, MAY, MAY + 1, MAY + 86_400, month_start("2018-11")]
TIMES.append(TIMES[-1] + 1)
TITLES = [
    *(None, "", " ", "X", '"X"', "a <span id", "Red", " &quot;Blue &amp; green&quot; "),
    *("Caf\u00e9, 'au' \"lait\"", "one two three", "one  two", "one two three four"),
]
reviews_strategy = st.lists(
    st.tuples(st.sampled_from("abcd"), st.sampled_from("pqrs"), st.sampled_from(TIMES)), max_size=60
)
metadata_strategy = st.lists(
    st.tuples(st.sampled_from("pqrstu"), st.sampled_from(TITLES) | st.just("Good title")),
    max_size=8,
).map(lambda rows: [("p", "First"), ("q", "Second"), ("r", "First"), *rows])


def write(folder, reviews, metadata):
    rows = [{"reviewerID": u, "asin": i, "unixReviewTime": t} for u, i, t in reviews]
    items = [{"asin": i} if title is None else {"asin": i, "title": title} for i, title in metadata]
    for name, content in (("reviews", rows), ("meta", items)):
        with igzip.open(folder / f"{name}.json.gz", "wb") as stream:
            stream.writelines(json.dumps(row).encode() + b"\n" for row in content)


@pytest.mark.slow
@settings(max_examples=150)
@given(
    reviews=reviews_strategy.filter(bool),
    repeats=st.integers(1, 4),
    metadata=metadata_strategy,
    minimum_items=st.integers(0, 3),
    k_core=st.integers(1, 3),
    max_history=st.integers(1, 4),
)
def test_tiny_sets(
    tmp_path_factory, reviews, repeats, metadata, minimum_items, k_core, max_history
):
    folder = tmp_path_factory.mktemp("tiny")
    write(folder, reviews * repeats, metadata)
    agree(
        folder,
        Preparation(
            start="2018-05",
            minimum_items=minimum_items,
            k_core=k_core,
            max_title_words=3,
            max_history=max_history,
        ),
    )


def test_titles_are_cleaned_once_however_often_the_window_widens(tmp_path):
    # The published code cleans in place, so each widening unescapes its own result again.
    rng = np.random.default_rng(0)
    reviews = [
        (f"u{u}", "pq"[i], MAY - YEAR + 86_400 * int(rng.integers(90)))
        for u in range(4)
        for i in (0, 1) * 3
    ]
    write(tmp_path, reviews, [("p", "R&amp;amp;B"), ("q", "Soul")])
    narrow = Preparation(start="2017-05", minimum_items=2)
    once = agree(tmp_path, narrow)
    assert {row["item_title"] for row in once["train"]} == {"R&amp;B", "Soul"}
    wide = Preparation(start="2018-05", minimum_items=2)
    assert ours(tmp_path, wide) == once
    again = published(tmp_path, wide)["train"]
    assert {row["item_title"] for row in again} == {"R&B", "Soul"}
