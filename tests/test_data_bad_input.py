"""Bad input of the preparation: each ends in one message, or is counted under its reason."""

import bz2
import gzip
import json
import lzma
import re

import pytest

from scripts.command import InputError
from scripts.contracts import CATALOGUE, INTERACTIONS
from scripts.data import content
from scripts.data import lines as data_lines
from scripts.data.prepare import prepare
from scripts.data.settings import Amazon, Preparation
from scripts.files import read_json, read_table
from tests.small_data import AMAZON, raw_files, zipped

EVERYTHING = Preparation(start=None, end=None, minimum_items=0, k_core=1)


def lines(rows):
    return "".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows)


def review(user, item, time):
    return {"reviewerID": user, "asin": item, "unixReviewTime": time}


def run(folder, reviews, metadata, settings=EVERYTHING, source=AMAZON, checksums=None):
    files = raw_files(folder, ".json")
    files["reviews"].write_text(lines(reviews))
    files["metadata"].write_text(lines(metadata))
    prepare(source, files, settings, folder / "out", checksums)
    return read_json(folder / "out" / "preparation.json")


#: Twenty reviews by two users, and the metadata of the two items.
GOOD = [review("uv"[t % 2], "pq"[t // 2 % 2], 1000 + t) for t in range(20)]
TITLES = [{"asin": "p", "title": "P one"}, {"asin": "q", "title": "Q one"}]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("no json\n", "cannot be parsed"),
        ('{"reviewerID": "u", "asin": "p"', "cannot be parsed"),
        (review(7, "p", 1000), "wrong type or empty"),
    ],
)
def test_a_bad_line_is_counted_by_reason_up_to_a_share(tmp_path, bad, reason):
    # The last line may lack its end.
    tolerant = EVERYTHING.model_copy(update={"max_malformed_share": 0.1})
    counts = run(tmp_path, [*GOOD, bad], TITLES, tolerant)
    assert counts["lines"] == {"read": 23, "malformed": {reason: 1}}
    assert counts["first_malformed"][0].startswith("reviews.json:21: ")
    assert counts["interactions"] == counts["reviews_read"] == 20
    said = rf"(?s)1 of 23 lines.*1 {reason}.*reviews\.json:21: .*mend the files or raise the share"
    with pytest.raises(InputError, match=said):
        run(tmp_path, [*GOOD, bad], TITLES)


MILLISECONDS = [row | {"unixReviewTime": 1_500_000_000_000} for row in GOOD]


@pytest.mark.parametrize(
    ("reviews", "metadata", "k_core", "says"),
    [
        ([*GOOD, *MILLISECONDS], TITLES, 1, "milliseconds where seconds are expected"),
        (GOOD, [{"asin": "z", "title": "Z one"}], 1, "do the files belong together"),
        (GOOD, TITLES, 11, "none of 20 reviews is left.*11-core"),
    ],
    ids=["milliseconds", "other metadata", "empty core"],
)
def test_of_a_set_that_fails_nothing_is_written(tmp_path, reviews, metadata, k_core, says):
    with pytest.raises(InputError, match=says):
        run(tmp_path, reviews, metadata, EVERYTHING.model_copy(update={"k_core": k_core}))
    assert not (tmp_path / "out").exists()


def test_a_file_put_by_hand_must_be_the_recorded_one(tmp_path):
    url = "https://example.org/reviews.json"
    source = AMAZON.model_copy(update={"reviews": url})
    lock = tmp_path / "checksums.json"
    counts = run(tmp_path, GOOD, TITLES, source=source, checksums=lock)
    assert read_json(lock)[url]["sha256"] == counts["raw_sha256"]["reviews"]
    with pytest.raises(InputError, match=r"reviews\.json: its SHA-256 is .*checksums\.json"):
        run(tmp_path, GOOD[1:], TITLES, source=source, checksums=lock)


AWKWARD = {
    "a/../../b": ("Tab\there\r\nand  a line", "Tab here and  a line"),
    "..": ('He said &quot;no&quot; &amp; "left"', 'He said "no" & "left'),
    "c\\d": ("<b>Bold</b> & <i>italic</i> &#39;", "<b>Bold</b> & <i>italic</i> &#39;"),
    "🙂": ("Emoji 🙂🏽 and ünï", "Emoji 🙂🏽 and ünï"),
    "=1+1": ("=SUM(A1:A9)", "=SUM(A1:A9)"),
    "$x": (r"50% of $x_1^2$ \textbf{#1}", r"50% of $x_1^2$ \textbf{#1}"),
    " ": ("\u2028", None),
    "long": ("x" * 10_000, None),
    "words": (" ".join("a" * 21), None),
    "html": ('<span id="productTitle">', None),
}


def test_awkward_titles_and_ids_arrive_whole_on_one_line_or_are_counted(tmp_path):
    rows = [review("uv"[t % 2], item, 1000 + t) for item in AWKWARD for t in range(4)]
    titles = [{"asin": item, "title": raw} for item, (raw, _) in AWKWARD.items()]
    counts = run(tmp_path, rows, titles)
    items = read_table(tmp_path / "out" / "catalogue.parquet", CATALOGUE)
    expected = {item: title for item, (_, title) in AWKWARD.items() if title is not None}
    assert dict(zip(items["item"], items["title"], strict=True)) == expected
    assert items["item"].tolist() == sorted(expected)
    assert counts["dropped_items"] == {
        "no title": 1,
        "title over 1,000 characters": 1,
        "title too long": 1,
        "markup in the title": 1,
        "no metadata": 0,
    }
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "examples",
        "interactions.parquet",
        "catalogue.parquet",
        "preparation.json",
    }


def test_repeated_reviews_are_kept_or_dropped(tmp_path):
    kept = run(tmp_path, GOOD, TITLES)
    assert kept["interactions"] == 20
    assert "repeated review" not in kept["dropped_reviews"]
    rows = [review(user, item, time) for user in "abc" for item in "pqr" for time in (3, 2, 1)]
    titles = [{"asin": item, "title": f"Title {item}"} for item in "pqr"]
    drop = EVERYTHING.model_copy(update={"repeated_reviews": "drop", "k_core": 3})
    rows += [review(user, item, 9) for user in "defgh" for item in "pqr"]
    counts = run(tmp_path, rows, titles, drop)
    assert counts["dropped_reviews"]["repeated review"] == 18
    found = read_table(tmp_path / "out" / "interactions.parquet", INTERACTIONS)
    assert found.loc[found["user"].isin(list("abc")), "timestamp"].tolist() == [1] * 9


def test_byte_order_marks_and_blank_lines_are_no_rows(tmp_path):
    expected = run(tmp_path, GOOD, TITLES)
    for mark, blank in (("\ufeff", ""), ("", "\n"), ("\ufeff\n", " \r\n")):
        reviews = [mark + json.dumps(GOOD[0]) + "\n", blank, *GOOD[1:], blank]
        metadata = [mark + json.dumps(TITLES[0]) + "\n", blank, TITLES[1], blank]
        assert run(tmp_path, reviews, metadata)["lines"] == {"read": 22, "malformed": {}}
        assert read_json(tmp_path / "out" / "preparation.json")["users"] == expected["users"]
        assert len(read_table(tmp_path / "out" / "interactions.parquet", INTERACTIONS)) == 20


@pytest.mark.parametrize("kind", ["amazon-2014", "amazon-2018"])
def test_half_a_character_is_a_malformed_line(tmp_path, kind):
    tolerant = EVERYTHING.model_copy(update={"max_malformed_share": 0.1})
    source = Amazon(kind=kind, reviews="reviews", metadata="metadata")
    metadata = [*TITLES, '{"asin": "p", "title": "P \\ud83d"}\n']
    counts = run(tmp_path, GOOD, metadata, tolerant, source)
    assert sum(counts["lines"]["malformed"].values()) == 1
    assert counts["first_malformed"][0].startswith("meta.json:3: ")


def test_a_rating_that_is_no_number_is_missing_and_its_review_stays(tmp_path):
    given = {0: "—", 1: None, 2: "4.5", 3: [5], 4: True, 5: 3}
    rows = [row | {"overall": given[t]} if t in given else row for t, row in enumerate(GOOD)]
    counts = run(tmp_path, rows, TITLES)
    assert counts["lines"] == {"read": 22, "malformed": {}}
    assert counts["ratings_that_are_no_number"] == 3
    found = read_table(tmp_path / "out" / "interactions.parquet", INTERACTIONS)
    assert found["rating"].dropna().tolist() == [4.5, 3]


def test_a_file_that_is_damaged_or_ends_inside_a_line_is_not_recorded(tmp_path):
    source = AMAZON.model_copy(update={"reviews": "https://example.org/reviews.json"})
    lock = tmp_path / "checksums.json"
    with pytest.raises(InputError, match="malformed"):
        run(tmp_path, ["x\n", *GOOD], TITLES, source=source, checksums=lock)
    assert not lock.exists()
    tolerant = EVERYTHING.model_copy(update={"max_malformed_share": 0.1})
    cut = [*GOOD, '{"reviewerID": "u", "as']
    run(tmp_path, cut, TITLES, tolerant, source, lock)
    assert not lock.exists()
    # A bad line with its end is a bad line of a whole file.
    run(tmp_path, [*GOOD, '{"reviewerID": "u", "as\n'], TITLES, tolerant, source, lock)
    assert list(read_json(lock)) == [source.reviews]


def test_ties_and_shared_titles_are_counted_and_a_sorted_file_is_warned_of(tmp_path, caplog):
    items = [f"{n}" for n in range(2, 42)]  # As text, 10 comes before 9.
    titles = [{"asin": n, "title": f"Film {int(n) // 2}"} for n in items]
    rows = [review(user, item, 1000) for user in "ab" for item in items]
    counts = run(tmp_path, rows, titles)
    assert counts["items_that_share_a_title"] == 40
    assert counts["titles_of_several_items"] == 20
    assert sum(split["tied_targets"] for split in counts["splits"].values()) == 78
    assert counts["tied_steps"]["in_order_of"]["item"] == 1
    assert counts["tied_steps"]["sorted_by"].startswith("item")
    assert "sorted by item" in caplog.text
    caplog.clear()
    drawn = run(tmp_path, rows, titles, EVERYTHING.model_copy(update={"tie_seed": 0}))
    assert drawn["tied_steps"]["order"] == "seed 0"
    assert drawn["tied_steps"]["sorted_by"] == "neither item nor title"
    assert not caplog.text


def test_titles_have_most_characters_and_one_form(tmp_path):
    titles = [{"asin": "p", "title": "限定版"}, {"asin": "q", "title": "Cafe\u0301"}]
    settings = EVERYTHING.model_copy(update={"max_title_characters": 4})
    assert run(tmp_path, GOOD, titles, settings)["dropped_items"]["no metadata"] == 0
    found = read_table(tmp_path / "out" / "catalogue.parquet", CATALOGUE)
    assert found["title"].tolist() == ["限定版", "Caf\u00e9"]
    shorter = settings.model_copy(update={"max_title_characters": 3})
    assert run(tmp_path, GOOD, titles, shorter)["dropped_items"]["title over 3 characters"] == 1


def test_utf16_is_read_by_its_mark_and_a_page_is_named(tmp_path):
    files = raw_files(tmp_path, "")
    files["reviews"].write_text(lines(GOOD), encoding="utf-16")
    files["metadata"].write_text(lines(TITLES), encoding="utf-32")
    prepare(AMAZON, files, EVERYTHING, tmp_path / "out")
    assert read_json(tmp_path / "out" / "preparation.json")["interactions"] == 20
    files["metadata"].write_bytes(gzip.compress(b"<html>Too many requests</html>"))
    with pytest.raises(InputError, match="meta: is a web page"):
        prepare(AMAZON, files, EVERYTHING, tmp_path / "out")


@pytest.mark.parametrize(
    "pack", [gzip.compress, bz2.compress, lzma.compress, lambda content: zipped({"r": content})]
)
def test_a_small_file_cannot_fill_the_memory(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(content, "ROOM", 1 << 20)
    files = raw_files(tmp_path, ".json")
    files["reviews"].write_bytes(pack(b"{" + b" " * (2 << 20)))
    files["metadata"].write_text(lines(TITLES))
    said = r"reviews\.json: holds more than 1 MB and 200 times its own size"
    with pytest.raises(InputError, match=said):
        prepare(AMAZON, files, EVERYTHING, tmp_path / "out")
    assert re.search(said, content.damage(files["reviews"]))
    monkeypatch.setattr(data_lines, "LONGEST", 1 << 20)
    files["reviews"].write_bytes(b"{" + b" " * (2 << 20))
    with pytest.raises(InputError, match=r"reviews\.json: a line has more than 1 MB; name"):
        prepare(AMAZON, files, EVERYTHING, tmp_path / "out")
