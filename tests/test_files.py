"""Files appear whole or not at all, and one that breaks its contract is named."""

import hashlib
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scripts.cells import Cell, Model, baseline_cell, cell_of, model_of
from scripts.command import InputError
from scripts.contracts import TEXT
from scripts.files import (
    atomic,
    read_csv,
    read_json,
    read_table,
    sha256,
    write_csv,
    write_json,
    write_table,
)

SCHEMA = pa.schema([("name", pa.string()), ("ids", pa.list_(pa.int32())), ("score", pa.float32())])
FRAME = pd.DataFrame({"name": ["a", "b"], "ids": [[1, 2], []], "score": [0.5, None], "more": 1})


class BrokenOffError(Exception):
    pass


def write_half(path, folder):
    with atomic(path) as partial:
        if folder:
            partial.mkdir()
            (partial / "weights").write_text("half")
        else:
            partial.write_text("half")
        raise BrokenOffError


@pytest.mark.parametrize("folder", [False, True])
def test_an_error_leaves_what_was_there(tmp_path, folder):
    kept = tmp_path / "result" / "weights" if folder else tmp_path / "result"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("before")
    for result in (tmp_path / "result", tmp_path / "new" / "result"):
        with pytest.raises(BrokenOffError):
            write_half(result, folder)
    assert kept.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"result", "new"}
    assert list((tmp_path / "new").iterdir()) == []


def test_success_replaces_what_was_there(tmp_path):
    for text in ("first", "second"):
        with atomic(tmp_path / "folder") as partial:
            assert not (tmp_path / "folder" / text).exists()
            partial.mkdir()
            (partial / text).write_text(text)
        with atomic(tmp_path / "file") as partial:
            partial.write_text(text)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["second"]
    assert (tmp_path / "file").read_text() == "second"
    with pytest.raises(IsADirectoryError):
        write_json({}, tmp_path / "folder")
    assert (tmp_path / "folder" / "second").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder"}


def test_what_is_renamed_is_on_the_disk(tmp_path, monkeypatch):
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino) or fsync(file))
    with atomic(tmp_path / "folder") as partial:
        (partial / "deep").mkdir(parents=True)
        (partial / "deep" / "weights").write_text("whole")
    write_json({}, tmp_path / "file")
    assert synced == {path.stat().st_ino for path in tmp_path.rglob("*")}


def test_what_a_killed_writer_left_goes_and_what_another_writes_stays(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    *left, others = (tmp_path / f".file.{pid}.partial" for pid in (ended.pid, os.getpid(), 1))
    for path in (*left, others):
        path.mkdir()
    with atomic(tmp_path / "file") as partial:
        partial.touch(exist_ok=False)
    assert {path.name for path in tmp_path.iterdir()} == {"file", others.name}


def test_a_table_holds_its_contract_and_nothing_else(tmp_path):
    write_table(FRAME, tmp_path / "t.parquet", SCHEMA)
    found = read_table(tmp_path / "t.parquet", SCHEMA)
    assert found.columns.tolist() == ["name", "ids", "score"]
    assert [ids.tolist() for ids in found["ids"]] == [[1, 2], []]
    assert found["ids"][0].dtype == np.int32
    assert found["score"].isna().tolist() == [False, True]
    assert read_table(tmp_path / "t.parquet", SCHEMA, ["name"]).columns.tolist() == ["name"]


def test_a_flipped_bit_of_a_table_is_found(tmp_path):
    """Of the pages always; the list of columns behind them has no checksum."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "name": [f"title {n}" for n in rng.integers(90, size=200)],
            "ids": [rng.integers(2000, size=5).tolist() for _ in range(200)],
            "score": rng.normal(size=200),
        }
    )
    path = tmp_path / "t.parquet"
    write_table(frame, path, SCHEMA)
    whole, written = read_table(path, SCHEMA), path.read_bytes()
    pages = len(written) - 8 - int.from_bytes(written[-8:-4], "little")
    silent = []
    for place in [*rng.choice(pages, 60, replace=False), *range(pages, len(written), 9)]:
        broken = bytearray(written)
        broken[place] ^= 1 << rng.integers(8)
        path.write_bytes(broken)
        try:
            found = read_table(path, SCHEMA)
        except InputError:
            continue
        if found.to_json() != whole.to_json():
            silent.append(place)
    assert [place for place in silent if place < pages] == []
    assert len(silent) <= 1


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (SCHEMA.remove(2), "missing.*'name', 'ids'"),
        (SCHEMA.set(2, pa.field("score", pa.float64())), "double, expected float"),
    ],
)
def test_a_column_that_is_not_as_it_should_be_is_named(tmp_path, schema, fault):
    path = tmp_path / "t.parquet"
    write_table(FRAME, path, schema)
    with pytest.raises(InputError, match=rf"t\.parquet: column 'score' is {fault}"):
        read_table(path, SCHEMA)


@pytest.mark.parametrize(
    ("read", "kind"),
    [(lambda path: read_table(path, SCHEMA), "Parquet"), (read_json, "JSON"), (read_csv, "CSV")],
)
@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00{", b"{a,b\n1,", b"[1]", 9999 * b"["])
def test_what_cannot_be_read_is_named(tmp_path, read, kind, content):
    path = tmp_path / "broken"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"broken: cannot be read as {kind}"):
        read(path)


def test_csv_and_json_keep_values(tmp_path):
    frame = pd.DataFrame({"name": ["NA", "x"], "value": [1 / 3, None], "n": [1, 2]})
    write_csv(frame, tmp_path / "t.csv")
    pd.testing.assert_frame_equal(read_csv(tmp_path / "t.csv"), frame)
    value = {"b": [1, 0.1], "a": {"é": None}}
    write_json(value, tmp_path / "t.json")
    assert read_json(tmp_path / "t.json") == value


def test_any_changed_character_of_a_record_is_told(tmp_path):
    path = tmp_path / "run.json"
    write_json({"loss": 1.25, "settings": {"name": "é", "steps": [1, None]}}, path)
    written = path.read_bytes()
    value, silent = read_json(path), []
    for place in range(len(written)):
        for bit in range(8):
            broken = bytearray(written)
            broken[place] ^= 1 << bit
            path.write_bytes(broken)
            with suppress(InputError):  # What the checksum's own name has become is a key more.
                silent += [place] * ({**read_json(path), **value} != read_json(path))
    assert silent == []
    path.write_bytes(written.replace(b"1.25", b"1.75"))
    with pytest.raises(InputError, match=r"run\.json: .*changed.*delete its line sealed_sha256"):
        read_json(path)


def test_any_changed_character_of_an_analysis_is_told(tmp_path):
    path = tmp_path / "gains.csv"
    write_csv(pd.DataFrame({"dataset": ["é", "b"], "value": [0.25, 1e-9]}), path, sealed=True)
    written = path.read_bytes()
    for place in range(len(written)):
        path.write_bytes(written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :])
        with pytest.raises(InputError, match=r"gains\.csv: .*(changed|cut off)"):
            read_csv(path)
    path.with_name(".gains.csv.sha256").unlink()  # Meant.
    path.write_bytes(written.replace(b"0.25", b"0.75"))
    assert read_csv(path)["value"].tolist() == [0.75, 1e-9]


def test_sha256_of_a_file_and_of_a_folder(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "a").write_bytes(b"x")
    assert sha256(tmp_path / "one" / "a") == hashlib.sha256(b"x").hexdigest()
    first = sha256(tmp_path / "one")
    (tmp_path / "one" / "a").rename(tmp_path / "one" / "b")
    assert sha256(tmp_path / "one") != first
    (tmp_path / "one" / "b").rename(tmp_path / "one" / "a")
    assert sha256(tmp_path / "one") == first
    (tmp_path / "one" / "a").write_bytes(b"y")
    assert sha256(tmp_path / "one") != first


def test_cells_and_their_paths(tmp_path):
    language_model = Cell("ml-1.0", "tiny", "cft-beta0.25", 3, "constrained", "without")
    baseline = baseline_cell("ml-1.0", "sasrec", 1)
    given = baseline._replace(history="wrong")
    assert language_model.path == "ml-1.0/tiny/cft-beta0.25/seed-3/constrained/without"
    assert baseline.path == baseline.model == "ml-1.0/baselines/sasrec/seed-1"
    assert given.path == "ml-1.0/baselines/sasrec/seed-1/wrong"
    for cell in (language_model, baseline, given):
        assert cell_of(tmp_path / f"{cell.path}.parquet") == cell
    for path in (tmp_path / language_model.model, tmp_path / f"{language_model.model}.parquet"):
        assert model_of(path) == Model("ml-1.0", "tiny", "cft-beta0.25", 3)
    for path in ("few/parts.parquet", "a/b/c/seed-x/d/e.parquet", "", "a/b/c/seed-x"):
        for read in (cell_of, model_of):
            with pytest.raises(InputError, match=f"^{path}.*: is not where a study writes it"):
                read(Path(path))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
@example(["2018", "0.3", "1e5", "nan", "NA", "null", "None", "true", "inf", "-", "007", "1_000"])
@example(["", " a ", 'a"b', "a\rb", "\r\n", "a,b", "\x00", "\ufeff"])
def test_text_stays_text(texts):
    frame = pd.DataFrame(dict.fromkeys(TEXT, pd.Series(texts, dtype=object)))
    with TemporaryDirectory() as folder:
        write_csv(frame, Path(folder) / "t.csv")
        found = read_csv(Path(folder) / "t.csv")
    assert found.to_dict("list") == frame.to_dict("list")
