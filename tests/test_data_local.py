"""Local files in every form that people bring: read as what they are, or named with the remedy."""

from __future__ import annotations

import bz2
import datetime as dt
import decimal
import gzip
import io
import json
import lzma

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from scripts.command import InputError
from scripts.data.settings import Columns, Local
from scripts.data.sources import read
from tests.small_data import with_ids, zipped

REVIEWS = "user,item,timestamp\nu,1,10\nv,2,20.5\n"
ITEMS = "item,title\n1,1917\n2,Café du Monde\n"
FOUND = ([("u", "1", 10_000), ("v", "2", 20_500)], [("1", "1917"), ("2", "Café du Monde")])
TIME = 1_500_000_000


def loaded(folder, reviews=REVIEWS, items=ITEMS, names=("r", "m"), **keys):
    """Read a pair of files: the raw data."""
    files = dict(zip(("reviews", "metadata"), (folder / name for name in names), strict=True))
    for path, content in zip(files.values(), (reviews, items), strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read(Local(kind="local", reviews="r", metadata="m", **keys), files)


def found(raw):
    """Reviews (without ratings) and titles by source ids."""
    rows, titles = with_ids(raw)
    return [(user, item, time) for user, item, _, time in rows], titles


def json_of(cells, **changed):
    """The rows of CSV as objects, with other values for some."""
    names, *rows = (line.split(",") for line in cells.splitlines())
    return [changed.get(row[0], dict(zip(names, row, strict=True))) for row in rows]


def lines_of(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(**columns):
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


PACK = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "Zstandard": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "zip": lambda content: zipped({"a/x": content, "__MACOSX/._x": b"\0"}),
}


@pytest.mark.parametrize("pack", PACK.values(), ids=PACK)
def test_a_file_is_known_by_its_content(tmp_path, pack):
    rows, items = json_of(REVIEWS), json_of(ITEMS)
    forms = [
        (REVIEWS, ITEMS),
        ("\ufeff" + REVIEWS.replace("\n", "\r\n"), ITEMS.replace(",", "\t")),
        (lines_of(rows), "\ufeff" + "\n".join(map(str, items))),  # The latter as Python writes it.
        (json.dumps(rows), json.dumps(items, indent=1)),
    ]
    for encoding in ("utf-8", "utf-16"):
        for form in forms:
            raw = loaded(
                tmp_path, *(pack(text.encode(encoding)) for text in form), names=("r.gz", "M.CSV?x")
            )
            assert found(raw) == FOUND
            assert (raw.tally.lines, raw.tally.malformed) == (4, {})
    if pack is not bytes:
        with pytest.raises(InputError, match="r: the file is truncated or corrupt"):
            loaded(tmp_path, pack(REVIEWS.encode())[:-9])


CLICKS = pd.DataFrame(
    [("007", "a/../b", 3.5, "2017-12-17"), ("u, 2", "Ü", None, "2017-12-17T12:00:00.5+01:00")],
    columns=["who", "what", "stars", "when"],
)
NAMES = [("a/../b", "=SUM(A1) & $x_1$"), ("Ü", 'Say "yes"\nor 🙂'), ("Ü", None)]
DAY = 1_513_468_800  # 2017-12-17, UTC.
COLUMNS = Columns(
    user="who", item="what", rating="stars", time="when", metadata_item="id", title="name"
)
FORMS = {
    "CSV": lambda frame: frame.to_csv(index=False),
    "JSON": lambda frame: frame.to_json(orient="records", lines=True),
    "Parquet": lambda frame: parquet(**frame),
}


@pytest.mark.parametrize("form", FORMS)
def test_names_times_and_ratings_of_every_form(tmp_path, form):
    files = [FORMS[form](frame) for frame in (CLICKS, pd.DataFrame(NAMES, columns=["id", "name"]))]
    raw = loaded(tmp_path, *files, time="iso", columns=COLUMNS)
    assert with_ids(raw) == (
        [("007", "a/../b", 3.5, DAY * 1000), ("u, 2", "Ü", None, (DAY + 11 * 3600) * 1000 + 500)],
        NAMES,
    )
    assert raw.tally.malformed.total() == 0
    # A named column that is not there is no empty one.
    for column, file in (("rating", "r"), ("title", "m")) if form != "JSON" else ():
        columns = COLUMNS.model_copy(update={column: "elsewhere"})
        with pytest.raises(InputError, match=rf"{file} lacks the columns \['elsewhere'\]"):
            loaded(tmp_path, *files, time="iso", columns=columns)


def test_a_quote_never_closed_counts_all_lines_that_it_swallows(tmp_path):
    raw = loaded(tmp_path, 'user,item,timestamp\nu,1,1\nu,"1,2\n' + 10 * "u,1,3\n")
    assert len(raw.reviews.user) == 1
    assert (raw.tally.lines, raw.tally.malformed.total()) == (14, 11)
    assert raw.tally.first[0].startswith("r:3: ")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\n<html>", r"r: is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", r"Git LFS pointer.*git lfs pull"),
        (b"\x80\x04\x95", r"pickle.*CSV or Parquet"),
        (b"\x89HDF\r\n\x1a\n\0", r"binary data"),
        (REVIEWS.encode("utf-16-le"), r"UTF-16 without a mark.*`encoding`"),
        (gzip.compress(gzip.compress(b"x")), r"packed once more than is read; unpack"),
        (gzip.compress(b"x" * 257 + b"ustar"), r"is an archive; unpack"),
        (zipped({"xl/workbook.xml": "x", "y": ""}), r"an Excel workbook; save it as CSV"),
        (zipped({"a": "x", "b": ""}), r"an archive of 2 files \['a', 'b'\]"),
        (gzip.compress(parquet(user=["u"])), r"Parquet, packed.*unpack it"),
        (b'[{"user": 1},', r"begins as a JSON array and is none.*one row a line"),
        (b"", r"r: the file is empty"),
        (b"user,item,timestamp\n", r"r: the file is empty"),
        (b"PAR1 and no more", r"r: cannot be read as Parquet"),
        (parquet(user=["u"], item=["1"]), r"r lacks the columns \['timestamp'\]; found"),
        (b'{"u": 1}\n', r"no row has the keys \['item', 'timestamp', 'user'\].*\['u'\]"),
        (REVIEWS.replace(",", ";").encode(), r"lacks.*`delimiter` and `encoding`"),
        (b"user,item,timestamp,user\nu,1,1,v\n", r"has the columns \['user'\] twice"),
        (b'user,item,timestamp\n"\\"u\\"",1,1\n', r"r:2: .*`quotes`"),
    ],
    # Not the content: what is packed bears the time of its packing.
    ids=lambda value: value if isinstance(value, str) else "content",
)
def test_what_cannot_be_read_is_named_with_the_remedy(tmp_path, content, says):
    with pytest.raises(InputError, match=says):
        loaded(tmp_path, content)


def test_a_folder_is_named(tmp_path):
    files = {"reviews": tmp_path, "metadata": tmp_path}
    with pytest.raises(InputError, match=r"cannot be read .* name one file"):
        read(Local(kind="local", reviews="r", metadata="m"), files)


@pytest.mark.parametrize(
    ("text", "encoding"),
    [(ITEMS, "latin-1"), (ITEMS, "utf-16-be"), (lines_of(json_of(ITEMS)), "utf-16-le")],
)
def test_an_encoding_holds_for_the_file_that_it_fits(tmp_path, text, encoding):
    raw = loaded(tmp_path, items=text.encode(encoding), encoding=encoding)
    assert found(raw) == FOUND


def test_text_of_another_encoding_is_counted_or_named(tmp_path):
    assert loaded(tmp_path, items=ITEMS.encode("latin-1")).tally.malformed == {"not UTF-8": 1}
    with pytest.raises(InputError, match=r"m: is no text of its encoding.*`encoding`"):
        loaded(tmp_path, items=ITEMS.encode("utf-16")[:-1])
    for wrong in ("latin-99", "rot13"):
        with pytest.raises(ValidationError, match="name one that Python knows"):
            Local(kind="local", reviews="r", metadata="m", encoding=wrong)


@pytest.mark.parametrize("delimiter", [";", "|", "::"])
def test_a_delimiter_holds_for_the_file_that_it_fits(tmp_path, delimiter):
    raw = loaded(tmp_path, items=ITEMS.replace(",", delimiter), delimiter=delimiter)
    assert found(raw) == FOUND


@pytest.mark.parametrize(
    ("text", "quotes", "title"),
    [
        ('item,title\n1,"a, ""b"""\n', None, 'a, "b"'),
        ('item\ttitle\n1\t"a ""b"""\n', None, 'a "b"'),
        ('item\ttitle\n1\t12" b\n', None, '12" b'),
        ('item\ttitle\n1\t"a" b\n', None, '"a" b'),
        ('item\ttitle\n1\t"a\tb"\n', "doubled", "a\tb"),
        ('item,title\n1,"C:\\"\n', "doubled", "C:\\"),
        ('item,title\n1,"a \\"b\\""\n', "backslash", 'a "b"'),
        ('item,title\n1,12\\" b\n', "backslash", '12" b'),
    ],
)
def test_quotes(tmp_path, text, quotes, title):
    assert found(loaded(tmp_path, items=text, quotes=quotes))[1] == [("1", title)]


def test_columns_have_any_names_once(tmp_path):
    columns = Columns(user="o:user", item='"i"\\', time="t", metadata_item="i d", title="n.m")
    rows = [{"o:user": "u", '"i"\\': 1, "t": 10}, {"o:user": "v", '"i"\\': 2, "t": 20.5}]
    items = " i d , n.m \n1,1917\n2,Café du Monde\n"
    assert found(loaded(tmp_path, lines_of(rows), items, columns=columns)) == FOUND
    for same in ({"user": "item"}, {"title": "item"}):
        with pytest.raises(ValidationError, match="stands for one thing only"):
            Columns(**same)


def test_blank_cells_and_lines_are_no_rows_and_ids_have_no_blanks_around_them(tmp_path):
    reviews = "\n\nuser,item,timestamp\n u ,1,10\n,,\n \nv, 2, 20.5 \n\n,,\n"
    raw = loaded(tmp_path, reviews, lines_of([{"item": " 1", "title": 1917}]) + ITEMS[:0])
    assert found(raw)[0] == FOUND[0]
    assert found(raw)[1] == FOUND[1][:1]
    assert (raw.tally.lines, raw.tally.malformed) == (3, {})


VALUES = [
    (pa.array([3, 4], pa.int8()), "3"),
    (pa.array([2**63, 4], pa.uint64()), str(2**63)),
    (pa.array([3.0, 4.5]), "3"),
    (pa.array([decimal.Decimal("3.50"), None]), "3.5"),
    (pa.array(["007", "x"]).dictionary_encode(), "007"),
    (pa.array([b"caf\xc3\xa9", b"\xff"]), "café"),
    (pa.array([dt.date(2012, 12, 12), None]), "2012-12-12"),
]


@pytest.mark.parametrize(("column", "text"), VALUES)
def test_plain_values_of_parquet_are_text(tmp_path, column, text):
    reviews = parquet(user=column, item=column, timestamp=[10, 20])
    raw = loaded(tmp_path, reviews, parquet(item=column, title=column))
    assert found(raw)[0][0] == (text, text, 10_000)
    assert found(raw)[1][0] == (text, text)


def test_the_same_text_from_json_and_what_is_no_id(tmp_path):
    ids = ["007", 7, "7", 7.0, -0.0, 1.5, 10**30, "3.0"]
    bad = [None, "", " ", True, {"$oid": 1}, [1], float("nan"), 2.0**53, "\ud83d"]
    rows = [{"user": user, "item": 1, "timestamp": 10} for user in ids + bad]
    raw = loaded(tmp_path, lines_of(rows))
    users = [user for user, *_ in found(raw)[0]]
    assert users == ["007", "7", "7", "7", "0", "1.5", str(10**30), "3.0"]
    assert raw.tally.malformed.total() == len(bad)


@pytest.mark.parametrize(
    "times",
    [
        *(
            pa.array([dt.datetime(2017, 7, 14, 2, 40)]).cast(pa.timestamp(unit)).cast(kind)
            for unit in ("s", "ms", "us", "ns")
            for kind in (pa.timestamp(unit), pa.timestamp(unit, tz="UTC"))
        ),
        pa.array([TIME]),
        pa.array([float(TIME)]),
        pa.array([f"{TIME}.0"]),
        pa.array([decimal.Decimal(TIME)]),
        pa.array(["2017-07-14 04:40:00+02:00"]),
    ],
    ids=str,
)
def test_times_of_every_type(tmp_path, times):
    raw = loaded(tmp_path, parquet(user=["u"], item=["1"], timestamp=times))
    assert raw.reviews.timestamp.tolist() == [TIME * 1000]


@pytest.mark.parametrize("unit", ["milliseconds", "microseconds", "nanoseconds"])
def test_a_time_of_another_unit_is_named_with_its_key(tmp_path, unit):
    value = TIME * {"milliseconds": 10**3, "microseconds": 10**6, "nanoseconds": 10**9}[unit]
    reviews = f"user,item,timestamp\nu,1,{value}\nv,1,-1\nv,1,soon\n"
    raw = loaded(tmp_path, reviews, time=unit)
    assert raw.reviews.timestamp.tolist() == [TIME * 1000]
    raw = loaded(tmp_path, reviews)
    assert raw.tally.malformed == {"time out of range": 2, "wrong type or empty": 1}
    assert f"`time: {unit}`" in raw.tally.first[0]


@pytest.mark.parametrize("form", ["csv", "json"])
def test_ratings_that_are_no_number(tmp_path, form):
    given = ["—", "", "4.5", "inf", "five"]
    if form == "csv":
        reviews = "user,item,timestamp,stars\n" + "".join(f"u,1,10,{stars}\n" for stars in given)
    else:
        rows = [{"user": "u", "item": 1, "timestamp": 10, "stars": stars} for stars in given]
        reviews = lines_of([*rows, rows[0] | {"stars": float("nan")}])
    raw = loaded(tmp_path, reviews, columns=Columns(rating="stars"))
    assert [str(rating) for rating in raw.reviews.rating[:5]] == ["nan", "nan", "4.5", "nan", "nan"]
    assert (raw.tally.ratings, raw.tally.malformed) == (3, {})


def test_a_text_that_ends_inside_a_line_is_known(tmp_path):
    assert loaded(tmp_path, REVIEWS + "u,1").tally.cut
    assert not loaded(tmp_path, REVIEWS + "u,1\n").tally.cut
    assert not loaded(tmp_path, REVIEWS + "u,1\nv,1,1").tally.cut
