"""The lock file of raw files: recorded once, enforced from then on."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.command import InputError
from scripts.data.checksums import CHECKOUT, checksum_of, difference

ROOT = Path(__file__).resolve().parent.parent
URL = "https://example.org/raw.gz"
#: SHA-256 of "abc" (FIPS 180-2, appendix B.1).
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def enforce(url, path, lock):
    """What the preparation does with a file that it has read."""
    if fault := difference(url, path, checksum_of(path), lock, learn=True):
        raise InputError(fault)


@pytest.fixture
def raw(tmp_path):
    path = tmp_path / "raw.gz"
    path.write_bytes(b"abc")
    return path


def test_recorded_the_first_time(raw, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    lock = tmp_path / "config" / "checksums.json"
    enforce(URL, raw, lock)
    assert json.loads(lock.read_text()) == {URL: {"bytes": 3, "sha256": ABC}}
    assert "commit that file" in caplog.text
    caplog.clear()
    enforce(URL, raw, lock)
    assert not caplog.text


def test_enforced_from_then_on(raw, tmp_path):
    lock = tmp_path / "checksums.json"
    enforce(URL, raw, lock)
    before = lock.read_bytes()
    raw.write_bytes(b"abd")
    with pytest.raises(InputError) as caught:
        enforce(URL, raw, lock)
    message = str(caught.value)
    other = hashlib.sha256(b"abd").hexdigest()
    for part in (str(raw), ABC, other, str(lock), URL, "delete the entry"):
        assert part in message
    assert lock.read_bytes() == before
    assert raw.read_bytes() == b"abd"


def test_addresses_are_sorted_and_kept(raw, tmp_path):
    lock = tmp_path / "checksums.json"
    for name in "cab":
        enforce(f"https://example.org/{name}.gz", raw, lock)
    assert re.findall(r"/(\w)\.gz", lock.read_text()) == ["a", "b", "c"]
    assert lock.read_text().startswith('{\n  "https')


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("", "Invalid JSON"),
        ("<<<<<<< HEAD\n{}", "Invalid JSON"),
        ("[]", "should be an object"),
        (json.dumps({URL: {"bytes": 3, "sha256": ABC.upper()}}), f"{URL}.sha256"),
        (json.dumps({URL: {"bytes": 3}}), f"{URL}.sha256"),
        (json.dumps({URL: {"bytes": 3, "sha256": ABC, "md5": ""}}), f"{URL}.md5"),
    ],
)
def test_a_malformed_lock_file_is_named(raw, tmp_path, content, named):
    lock = tmp_path / "checksums.json"
    lock.write_text(content)
    with pytest.raises(InputError, match=r"checksums\.json: .*restore the committed") as caught:
        enforce(URL, raw, lock)
    assert named in str(caught.value)
    assert lock.read_text() == content


def test_a_lock_file_that_cannot_be_written_is_a_warning(raw, tmp_path, caplog):
    (tmp_path / "file").touch()
    enforce(URL, raw, tmp_path / "file" / "checksums.json")
    assert "cannot be written" in caplog.text
    assert "commit" not in caplog.text


def test_a_read_only_lock_file_still_enforces(raw, tmp_path, monkeypatch):
    lock = tmp_path / "checksums.json"
    enforce(URL, raw, lock)
    monkeypatch.setattr("scripts.data.checksums.write_json", None)
    monkeypatch.setattr("scripts.data.checksums.alone", None)
    enforce(URL, raw, lock)
    raw.write_bytes(b"abd")
    with pytest.raises(InputError, match="records"):
        enforce(URL, raw, lock)


@pytest.mark.slow
def test_processes_at_once_lose_no_entry(raw, tmp_path):
    lock = tmp_path / "checksums.json"
    code = (
        "import sys; from pathlib import Path; from tests.test_data_checksums import enforce\n"
        "for i in range(40): enforce(f'{sys.argv[1]}/{i}', Path(sys.argv[2]), Path(sys.argv[3]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, name, str(raw), str(lock)], cwd=ROOT)
        for name in "abc"
    ]
    assert [process.wait() for process in processes] == [0, 0, 0]
    assert len(json.loads(lock.read_text())) == 120


def test_the_record_of_a_quicker_process_stands(raw, tmp_path, monkeypatch):
    """It arrives between the first look and the lock."""
    lock = tmp_path / "checksums.json"
    other = {URL: {"bytes": 4, "sha256": "0" * 64}}

    def late(*args, **options):
        lock.write_text(json.dumps(other))
        return contextlib.nullcontext()

    monkeypatch.setattr("scripts.data.checksums.alone", late)
    with pytest.raises(InputError, match="records 0000"):
        enforce(URL, raw, lock)
    assert json.loads(lock.read_text()) == other


def test_the_checkouts_file_is_enforced_in_every_folder(raw, tmp_path):
    url = next(iter(json.loads(CHECKOUT.read_text())))
    with pytest.raises(InputError, match=r"config/checksums\.json records"):
        enforce(url, raw, tmp_path / "checksums.json")


def test_the_committed_lock_file_fits_the_real_files():
    folder = ROOT.parent / "shared/data/gift_cards_raw"
    if not folder.exists():
        pytest.skip("the original Gift Cards files are not here")
    files = {url.rsplit("/", 1)[-1]: url for url in json.loads(CHECKOUT.read_text())}
    for name in ("Gift_Cards_5.json.gz", "meta_Gift_Cards.json.gz"):
        enforce(files[name], folder / name, CHECKOUT)
