"""Readers of the sources: each on its own layout, against rows written by hand."""

import gzip

import numpy as np
import pytest

from scripts.command import InputError
from scripts.data.raw import users_of
from scripts.data.settings import Amazon, MovieLensWheel, MovieLensZip, Steam
from scripts.data.sources import article_first, read
from tests.small_data import with_ids, zipped

DAY = 1_513_468_800  # 2017-12-17, UTC.


def amazon(year):
    return Amazon(kind=f"amazon-{year}", reviews="reviews", metadata="metadata")


def pair(folder, reviews, metadata, compress=gzip.compress):
    files = {"reviews": folder / "r.json.gz", "metadata": folder / "m.json.gz"}
    for path, content in zip(files.values(), (reviews, metadata), strict=True):
        path.write_bytes(compress(content))
    return files


REVIEWS = b"""{"reviewerID": "u", "asin": "p", "overall": 4.0, "unixReviewTime": 10, "vote": "2"}
{"reviewerID": "v", "asin": "q", "unixReviewTime": 20, "reviewText": "never finished \\u00e9"}
{"reviewerID": "u", "asin": "q"}
{"reviewerID": "u", "asin": "q", "unixReviewTime": "30"}
{"reviewerID": "u", "asin": "q", "unixRev
{"reviewerID": "u", "asin": "q", "unixReviewTime": 1529193600000}
{"reviewerID": "u", "asin": "q", "unixReviewTime": -1}
{"reviewerID": "u", "asin": "q", "unixReviewTime": NaN}
{"reviewerID": "", "asin": "q", "unixReviewTime": 1}
{"reviewerID": "u", "asin": "p", "overall": 1, "unixReviewTime": 5}
"""
METADATA = b"""{"asin": "p", "title": "P one"}
{"asin": "unreviewed", "title": "Z"}
{"asin": "q"}
{"title": "no id"}
{"asin": "p", "title": "P two"}
"""


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_amazon_2018_in_file_order_with_malformed_lines_named(tmp_path, compress):
    raw = read(amazon(2018), pair(tmp_path, REVIEWS, METADATA, compress))
    users, user = users_of(raw.reviews, np.arange(3))
    assert users == ["u", "v"]
    assert raw.reviews.items == ["p", "q"]
    assert user.tolist() == [0, 1, 0]
    assert raw.reviews.item.tolist() == [0, 1, 0]
    assert raw.reviews.timestamp.tolist() == [10, 20, 5]
    np.testing.assert_array_equal(raw.reviews.rating, np.float32([4, np.nan, 1]))
    assert user.dtype == raw.reviews.item.dtype == np.int32
    assert raw.reviews.timestamp.dtype == np.uint32
    assert with_ids(raw)[1] == [("p", "P one"), ("q", None), ("p", "P two")]
    assert raw.tally.lines == 15
    assert raw.tally.malformed == {
        "missing field": 2,
        "wrong type or empty": 3,
        "cannot be parsed": 1,
        "time out of range": 2,
    }
    places = [":".join(line.split(":")[:2]) for line in raw.tally.first]
    assert places == [f"r.json.gz:{n}" for n in (3, 4, 5, 6, 7)]
    assert "unixReviewTime" in raw.tally.first[0]


def test_amazon_2014_has_python_literals_as_metadata(tmp_path):
    metadata = (
        b"{'asin': 'p', 'price': 1.5, 'title': \"It's a P\", 'related': {'also': ['q']}}\n"
        b"{'asin': 'q', 'title': u'Caf\\xe9'}\n"
        b'{"asin": "p", "title": "As JSON", "new": true}\n'
        b"{'asin': 'q', 'title': __import__('os').getcwd()}\n"
        b"{'asin': 'q', 'title': [7]}\n{'asin': 'q', 'title': 1917}\n"
        + b"{'asin': "
        + b"[" * 5000
        + b"\n"
    )
    raw = read(amazon(2014), pair(tmp_path, b"".join(REVIEWS.splitlines(True)[:2]), metadata))
    assert with_ids(raw)[1] == [("p", "It's a P"), ("q", "Café"), ("p", "As JSON"), ("q", "1917")]
    assert raw.tally.malformed == {"cannot be parsed": 2, "wrong type or empty": 1}
    assert raw.tally.first[0].startswith("m.json.gz:4: ")


def test_amazon_2023_counts_milliseconds_and_joins_variants(tmp_path):
    reviews = (
        b'{"rating": 5.0, "asin": "x", "parent_asin": "p", "user_id": "u", "timestamp": '
        b"1588687728923}\n"
        b'{"asin": "y", "parent_asin": "p", "user_id": "v", "timestamp": 1588687728922}\n'
        b'{"asin": "y", "parent_asin": "p", "user_id": "v", "timestamp": 1588687728}\n'
    )
    metadata = b'{"parent_asin": "p", "title": "P", "store": null}\n'
    raw = read(amazon(2023), pair(tmp_path, reviews, metadata))
    assert with_ids(raw) == (
        [("u", "p", 5.0, 1_588_687_728_923), ("v", "p", None, 1_588_687_728_922)],
        [("p", "P")],
    )
    assert raw.reviews.ticks == 1000
    assert raw.tally.malformed == {"time out of range": 1}  # Seconds.


def test_steam_parses_literals_and_never_runs_them(tmp_path):
    reviews = (
        b"{u'username': u'Chaos Syren', u'hours': 0.1, u'product_id': u'725280', "
        b"u'date': u'2017-12-17', u'text': u\"don't\", u'early_access': False}\n"
        b"{u'username': u'\\u0411', u'product_id': u'8', u'date': u'2017-12-18'}\n"
        b"{u'username': u'x', u'product_id': u'8', u'date': u'yesterday'}\n"
        b"{u'username': u'x', u'product_id': open('m.json.gz'), u'date': u'2017-12-18'}\n"
    )
    games = (
        b"{u'app_name': u'Lost', u'title': u'Lost Summoner Kitty', u'id': u'725280'}\n"
        b"{u'app_name': u'Half-Life', u'id': u'8', u'price': u'Free'}\n"
        b"{u'title': u'no id'}\n"
    )
    source = Steam(kind="steam", reviews="r", metadata="m")
    raw = read(source, pair(tmp_path, reviews, games))
    assert with_ids(raw) == (
        [("Chaos Syren", "725280", None, DAY), ("Б", "8", None, DAY + 86_400)],
        [("725280", "Lost Summoner Kitty"), ("8", "Half-Life")],
    )
    assert raw.tally.malformed.total() == 3


def test_lines_that_are_no_text_or_too_deep_are_malformed(tmp_path):
    good = REVIEWS.splitlines(keepends=True)[0]
    deep = b'{"reviewerID": "u", "asin": "p", "x": ' + b"[" * 100_000 + b"\n"
    bad = b'{"reviewerID": "\xff", "asin": "p", "unixReviewTime": 1}\n'
    raw = read(amazon(2018), pair(tmp_path, deep + bad + b"\n" + good, METADATA))
    # One of them in the metadata; the blank line is no row.
    assert raw.tally.malformed.total() == 3
    assert raw.reviews.timestamp.tolist() == [10]


DAMAGE = {
    **{
        f"{share:.0%}": lambda whole, s=share: whole[: int(len(whole) * s)] for share in (0.9, 0.05)
    },
    "checksum": lambda whole: whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:],
    "garbage behind": lambda whole: whole + b"<html>503</html>",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_gzip_is_named(tmp_path, damage):
    files = pair(tmp_path, REVIEWS * 50, METADATA)
    files["reviews"].write_bytes(damage(files["reviews"].read_bytes()))
    with pytest.raises(InputError, match=r"r\.json\.gz: the file is truncated or corrupt"):
        read(amazon(2018), files)


def test_several_gzip_streams_in_one_file_are_one_text(tmp_path):
    files = pair(tmp_path, REVIEWS, METADATA)
    first = REVIEWS.splitlines(keepends=True)[0]
    files["reviews"].write_bytes(gzip.compress(first) + gzip.compress(first))
    assert len(read(amazon(2018), files).reviews.user) == 2


@pytest.mark.parametrize("compress", [gzip.compress, bytes], ids=["gzip", "plain"])
def test_empty_and_missing_files_are_named(tmp_path, compress):
    files = pair(tmp_path, REVIEWS, b"", compress)
    with pytest.raises(InputError, match=r"m\.json\.gz: the file is empty"):
        read(amazon(2018), files)
    with pytest.raises(InputError, match=r"absent\.json: no such file"):
        read(amazon(2018), files | {"reviews": tmp_path / "absent.json"})


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "films-1.0-py3-none-any.whl"
    films = {
        "data/films.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "7\t1\t3\t20\n8\t2\t\t10.0\n7\t2\t5\n8\t1\t4\tnan\n",
        "data/films.item": b"item_id:token\tmovie_title:token_seq\trelease_year:token\t"
        b"class:token_seq\n1\tUsual Suspects, The\t1995\tCrime\n2\tM\t1931\tCrime\n"
        b"1\t\xff\t1995\tCrime\n",
        "data/other.inter": "user:token\n1\n",
    }
    path.write_bytes(zipped(films))
    return path


def in_wheel(name):
    return MovieLensWheel(
        kind="movielens-wheel", requirement="films==1.0", sha256="0" * 64, name=name
    )


def test_movielens_from_inside_the_wheel(wheel):
    kept = in_wheel("data/films").model_copy(update={"years": "keep"})
    assert with_ids(read(kept, {"wheel": wheel}))[1][0] == ("1", "The Usual Suspects (1995)")
    raw = read(in_wheel("data/films"), {"wheel": wheel})
    assert users_of(raw.reviews, np.arange(2))[0] == ["7", "8"]
    assert raw.reviews.timestamp.tolist() == [20, 10]
    np.testing.assert_array_equal(raw.reviews.rating, np.float32([3, np.nan]))
    assert with_ids(raw)[1] == [("1", "The Usual Suspects"), ("2", "M (1931)")]
    assert (raw.tally.lines, raw.tally.malformed.total()) == (7, 3)
    assert [line.split(":")[1] for line in raw.tally.first] == ["4", "5", "4"]
    assert raw.tally.malformed["not UTF-8"] == 1


def test_wheel_without_the_files_or_columns_is_named(wheel, tmp_path):
    with pytest.raises(InputError, match=r"holds no 'data/absent\.inter'.*data/films\.inter"):
        read(in_wheel("data/absent"), {"wheel": wheel})
    with pytest.raises(InputError, match=r"data/other\.inter lacks the columns .*'user_id'"):
        read(in_wheel("data/other"), {"wheel": wheel})
    damaged = tmp_path / "damaged.whl"
    damaged.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(InputError, match=r"damaged\.whl"):
        read(in_wheel("data/films"), {"wheel": damaged})


#: The same two ratings and films in GroupLens' three layouts.
LAYOUTS = {
    "100K": {
        "ml-100k/u.data": b"7\t1\t3\t20\n8\t2\t4\t10\n",
        "ml-100k/u.item": (
            "1|Misérables, Les (1995)|01-Jan-1995||http://x|" + "|".join("0" * 19) + "\n"
            "2|M (1931)|01-Jan-1931||http://y|" + "|".join("0" * 19) + "\n"
        ).encode("latin-1"),
    },
    "1M": {
        "ml-1m/ratings.dat": b"7::1::3::20\n8::2::4::10\n",
        "ml-1m/movies.dat": (
            "1::Misérables, Les (1995)::Drama\n2::M (1931)::Crime|Thriller\n".encode("latin-1")
        ),
        "ml-1m/users.dat": b"7::F::1::10::48067\n",
    },
    "20M": {
        "ml-20m/ratings.csv": b"userId,movieId,rating,timestamp\r\n7,1,3.0,20\r\n8,2,4.0,10\r\n",
        "ml-20m/movies.csv": (
            'movieId,title,genres\r\n1,"Misérables, Les (1995)",Drama\r\n2,M (1931),Crime\r\n'
        ).encode(),
        "ml-20m/tags.csv": b"userId,movieId,tag,timestamp\r\n",
    },
}


@pytest.mark.parametrize("years", ["drop", "keep"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_movielens_archives_of_every_layout(tmp_path, layout, years):
    path = tmp_path / "ml.zip"
    path.write_bytes(zipped(LAYOUTS[layout]))
    source = MovieLensZip(kind="movielens-zip", archive="ml.zip", years=years)
    raw = read(source, {"archive": path})
    assert with_ids(raw) == (
        [("7", "1", 3.0, 20), ("8", "2", 4.0, 10)],
        [("1", "Misérables, Les" + " (1995)" * (years == "keep")), ("2", "M (1931)")],
    )
    assert (raw.tally.lines, raw.tally.malformed.total()) == (4, 0)


def test_an_archive_of_anything_else_is_named(tmp_path):
    path = tmp_path / "ml.zip"
    path.write_bytes(zipped({"ml-1m/ratings.dat": b"7::1::3::20\n"}))
    source = MovieLensZip(kind="movielens-zip", archive="ml.zip")
    with pytest.raises(InputError, match=r"ml\.zip: holds no MovieLens set.*'ratings\.dat'"):
        read(source, {"archive": path})


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
