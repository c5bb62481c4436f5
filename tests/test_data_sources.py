"""Readers: codes, missing values, malformed lines and damaged files."""

import gzip
import zipfile

import numpy as np
import pytest

from scripts.command import InputError
from scripts.data.sources import article_first, read_amazon_2018, read_movielens_wheel

REVIEWS = b"""{"reviewerID": "u", "asin": "p", "overall": 4.0, "unixReviewTime": 10, "vote": "2"}
{"reviewerID": "v", "asin": "q", "unixReviewTime": 20, "reviewText": "never finished \\u00e9"}
{"reviewerID": "u", "asin": "q"}
{"reviewerID": "u", "asin": "q", "unixReviewTime": "30"}
{"reviewerID": "u", "asin": "q", "unixRev
{"reviewerID": "u", "asin": "q", "unixReviewTime": 1529193600000}
{"reviewerID": "u", "asin": "p", "overall": 1, "unixReviewTime": 5}
"""
METADATA = b"""{"asin": "p", "title": "P one"}
{"asin": "unreviewed", "title": "Z"}
{"asin": "q"}
{"title": "no id"}
{"asin": "p", "title": "P two"}
"""


def files(folder, reviews=REVIEWS, metadata=METADATA, compress=gzip.compress):
    (folder / "reviews.json.gz").write_bytes(compress(reviews))
    (folder / "meta.json.gz").write_bytes(compress(metadata))
    return folder / "reviews.json.gz", folder / "meta.json.gz"


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_amazon_in_file_order_with_malformed_lines_named(tmp_path, compress):
    raw = read_amazon_2018(*files(tmp_path, compress=compress))
    assert raw.reviews.users == ["u", "v"]
    assert raw.reviews.items == ["p", "q"]
    assert raw.reviews.user.tolist() == [0, 1, 0]
    assert raw.reviews.item.tolist() == [0, 1, 0]
    assert raw.reviews.timestamp.tolist() == [10, 20, 5]
    np.testing.assert_array_equal(raw.reviews.rating, np.float32([4, np.nan, 1]))
    assert raw.reviews.user.dtype == raw.reviews.item.dtype == np.int32
    assert raw.titles == [(0, "P one"), (1, None), (0, "P two")]
    assert (raw.tally.lines, raw.tally.malformed) == (12, 5)
    places = [":".join(line.split(":")[:2]) for line in raw.tally.first]
    assert places == [f"reviews.json.gz:{n}" for n in (3, 4, 5, 6)] + ["meta.json.gz:4"]
    assert "unixReviewTime" in raw.tally.first[0]


def test_lines_that_are_no_text_or_too_deep_are_malformed(tmp_path):
    good = REVIEWS.splitlines(keepends=True)[0]
    deep = b'{"reviewerID": "u", "asin": "p", "x": ' + b"[" * 100_000 + b"\n"
    bad = b'{"reviewerID": "\xff", "asin": "p", "unixReviewTime": 1}\n'
    raw = read_amazon_2018(*files(tmp_path, reviews=deep + bad + b"\n" + good))
    assert raw.tally.malformed == 4  # One of them in the metadata.
    assert raw.reviews.timestamp.tolist() == [10]


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.05])
def test_truncated_gzip_is_named(tmp_path, keep):
    reviews, metadata = files(tmp_path, reviews=REVIEWS * 50)
    whole = reviews.read_bytes()
    reviews.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match=r"reviews\.json\.gz: the file is truncated or corrupt"):
        read_amazon_2018(reviews, metadata)


def test_corrupt_gzip_is_named(tmp_path):
    reviews, metadata = files(tmp_path)
    whole = bytearray(reviews.read_bytes())
    whole[-8] ^= 1  # The checksum.
    reviews.write_bytes(whole)
    with pytest.raises(InputError, match=r"reviews\.json\.gz: the file is truncated or corrupt"):
        read_amazon_2018(reviews, metadata)


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_empty_and_missing_files_are_named(tmp_path, compress):
    reviews, metadata = files(tmp_path, metadata=b"", compress=compress)
    with pytest.raises(InputError, match=r"meta\.json\.gz: the file is empty"):
        read_amazon_2018(reviews, metadata)
    with pytest.raises(InputError, match=r"absent\.json: no such file"):
        read_amazon_2018(tmp_path / "absent.json", metadata)


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "films-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "data/films.inter",
            "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
            "7\t1\t3\t20\n8\t2\t\t10.0\n7\t2\t5\n8\t1\t4\tnan\n",
        )
        archive.writestr(
            "data/films.item",
            "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
            "1\tUsual Suspects, The\t1995\tCrime\n2\tM\t1931\tCrime\n",
        )
        archive.writestr("data/other.inter", "user:token\n1\n")
    return path


def test_movielens_from_inside_the_wheel(wheel):
    raw = read_movielens_wheel(wheel, "data/films")
    assert raw.reviews.users == ["7", "8"]
    assert raw.reviews.timestamp.tolist() == [20, 10]
    np.testing.assert_array_equal(raw.reviews.rating, np.float32([3, np.nan]))
    assert raw.titles == [(0, "The Usual Suspects"), (1, "M (1931)")]
    assert (raw.tally.lines, raw.tally.malformed) == (6, 2)
    assert [line.split(":")[1] for line in raw.tally.first] == ["4", "5"]


def test_wheel_without_the_files_or_columns_is_named(wheel, tmp_path):
    with pytest.raises(InputError, match=r"holds no 'data/absent\.inter'.*data/films\.inter"):
        read_movielens_wheel(wheel, "data/absent")
    with pytest.raises(InputError, match=r"data/other\.inter lacks the columns \['user_id'"):
        read_movielens_wheel(wheel, "data/other")
    damaged = tmp_path / "damaged.whl"
    damaged.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(InputError, match=r"damaged\.whl"):
        read_movielens_wheel(damaged, "data/films")


@pytest.mark.parametrize(
    ("title", "spoken"),
    [
        ("Usual Suspects, The", "The Usual Suspects"),
        ("Bronx Tale, A", "A Bronx Tale"),
        ("Affair to Remember, An", "An Affair to Remember"),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Tin Drum, The (Blechtrommel, Die)", "The Tin Drum (Blechtrommel, Die)"),
        ("Die xue shuang xiong (Killer, The)", "Die xue shuang xiong (Killer, The)"),
        ("Postino, Il", "Postino, Il"),
        ("Theatre, Therapy", "Theatre, Therapy"),
    ],
)
def test_article_first(title, spoken):
    assert article_first(title) == spoken
