"""Downloads against a local server that misbehaves in every way told to it."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import http.server
import json
import lzma
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pytest
import yaml

from scripts.command import InputError
from scripts.data import obtain as module
from scripts.data.checksums import Checksum, difference
from scripts.data.obtain import obtain, obtain_url, obtain_wheel
from scripts.files import sha256
from tests.small_data import zipped
from tests.test_workflow import ELSEWHERE, snakemake

ROOT = Path(__file__).resolve().parent.parent
CONTENT = gzip.compress(random.Random(0).randbytes(500_000))
OTHER = gzip.compress(random.Random(1).randbytes(500_000))


@dataclass
class Answer:
    """How the server answers one request."""

    status: int = 200
    body: bytes = CONTENT
    headers: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    """Whether a Range is honoured."""
    condition: bool = True
    """Whether an If-Range is honoured."""
    shift: int = 0
    """Bytes by which a partial answer begins too late."""
    short: int = 0
    """Bytes by which a partial answer ends too early, and says so."""
    cut: int | None = None
    """Bytes of the answer after which the connection ends."""
    lie: int = 0
    """Added to the true Content-Length."""
    stall: threading.Event | None = None
    """Waited for instead of ending the connection at the cut."""


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        answers = self.server.answers[self.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        self.server.asked.append((self.path, asked, condition))
        same = condition in (None, answer.headers.get("ETag"), answer.headers.get("Last-Modified"))
        ranged = answer.status == 200 and answer.ranges and (same or not answer.condition)
        start = int(asked[6:-1]) + answer.shift if asked and ranged else 0
        total = len(answer.body)
        if start and start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        end = total - answer.short if start else total
        body = answer.body[start:end] if answer.status == 200 else b""
        self.send_response(206 if start else answer.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{total}")
        self.send_header("Content-Length", str(len(body) + answer.lie))
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: answer.cut])
        if answer.stall:
            self.wfile.flush()
            answer.stall.wait(30)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(waits):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.answers, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def raw(server, tmp_path):
    """Download /raw.gz, which gets these answers, the last of them for ever."""

    def download(*answers: Answer, mirrors: tuple[str, ...] = (), checksums: Path | None = None):
        server.answers["/raw.gz"] = list(answers)
        urls = [f"{server.url}{path}" for path in ("/raw.gz", *mirrors)]
        obtain(tmp_path / "raw.gz", urls=urls, checksums=checksums)
        return (tmp_path / "raw.gz").read_bytes()

    return download


@pytest.fixture
def fetch(server, tmp_path):
    """Download a file of this name, whose every request gets this body."""

    def download(name: str, body: bytes, **options):
        server.answers[f"/{name}"] = [Answer(body=body)]
        obtain(tmp_path / name, urls=[f"{server.url}/{name}"], **options)
        return (tmp_path / name).read_bytes()

    return download


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def leave_part(folder, url, content=CONTENT[:300_000]):
    """What an interrupted download from `url` leaves behind."""
    (folder / "raw.gz.part").write_bytes(content)
    origin = {"url": url, "validator": "", "total": len(CONTENT)}
    (folder / "raw.gz.part.json").write_text(json.dumps(origin))


# ---- cut connections, and what goes on from where ------------------------------------------------

VALIDATORS = [
    ({}, None),
    ({"ETag": '"a"'}, '"a"'),
    ({"Last-Modified": "Mon, 01 Jan 2018 00:00:00 GMT"}, "Mon, 01 Jan 2018 00:00:00 GMT"),
    ({"ETag": '"a"', "Last-Modified": "Mon, 01 Jan 2018 00:00:00 GMT"}, '"a"'),
    # A weak ETag must not be sent with If-Range.
    ({"ETag": 'W/"a"'}, None),
]


@pytest.mark.parametrize(("headers", "sent"), VALIDATORS)
def test_a_cut_connection_is_resumed(server, raw, tmp_path, waits, headers, sent):
    assert raw(Answer(headers=headers, cut=300_000), Answer(headers=headers)) == CONTENT
    assert names(tmp_path) == ["raw.gz"]
    (_, first, _), (_, second, condition) = server.asked
    assert first is None
    assert 200_000 < int(second[6:-1]) <= 300_000
    assert condition == sent
    assert waits == [2.0]


def test_cuts_go_on_as_long_as_something_new_arrives(server, raw, waits):
    assert raw(Answer(cut=70_000)) == CONTENT
    assert len(server.asked) > module.ATTEMPTS
    assert set(waits) == {2.0}


AROUND = {
    "a server that cannot resume": ([Answer(cut=300_000), Answer(ranges=False)], ["bytes=[0-9]+-"]),
    "another part than was asked for": ([Answer(cut=300_000), Answer(shift=10), Answer()], []),
    "less than was asked for": (
        [Answer(cut=300_000), Answer(short=1000), Answer()],
        ["bytes=[0-9]+-", f"bytes={len(CONTENT) - 1000}-"],
    ),
    "a length told too long": ([Answer(lie=1000)], [f"bytes={len(CONTENT)}-"]),
    "a length told too short, once": ([Answer(lie=-1000), Answer()], ["None"]),
}


@pytest.mark.parametrize(("answers", "asked"), AROUND.values(), ids=AROUND)
def test_the_file_comes_whole_all_the_same(server, raw, caplog, answers, asked):
    """Also with the ranges that are asked for after the first answer."""
    assert raw(*answers) == CONTENT
    for pattern, (_, found, _) in zip(asked, server.asked[1:], strict=False):
        assert re.fullmatch(pattern, str(found))
    # Where a mixture was never assembled.
    assert ("damaged" in caplog.text) == (answers[0].lie < 0)


def test_cuts_at_changing_places_without_ranges_end(server, raw, waits):
    """Without ranges each attempt begins at 0: a shorter one after a longer one is no progress."""
    cuts = [100_000, 200_000] + [100_000, 150_000] * 10
    with pytest.raises(InputError, match="given up after 5 attempts"):
        raw(*(Answer(cut=cut, ranges=False) for cut in cuts))
    assert len(server.asked) == 2 + module.ATTEMPTS
    assert waits == [2.0, 2.0, 2.0, 4.0, 8.0, 16.0]


LEFT = {
    "some": (CONTENT[:1000], ["bytes=1000-"]),
    # It gets 416, which says that nothing is missing.
    "all": (CONTENT, [f"bytes={len(CONTENT)}-"]),
    "too much": (CONTENT + b"more", [f"bytes={len(CONTENT) + 4}-", None]),
    "damaged": (bytes(1000), ["bytes=1000-", None]),
}


@pytest.mark.parametrize(("left", "ranges"), LEFT.values(), ids=LEFT)
def test_what_an_earlier_run_left_is_kept_if_it_is_right(server, raw, tmp_path, left, ranges):
    leave_part(tmp_path, f"{server.url}/raw.gz", left)
    assert raw(Answer()) == CONTENT
    assert [asked for _, asked, _ in server.asked] == ranges
    assert names(tmp_path) == ["raw.gz"]


def test_a_part_of_unknown_origin_is_not_continued(server, raw, tmp_path):
    (tmp_path / "raw.gz.part").write_bytes(CONTENT[:1000])
    assert raw(Answer()) == CONTENT
    assert server.asked == [("/raw.gz", None, None)]


@pytest.mark.parametrize("condition", [True, False])
def test_a_file_changed_between_attempts_starts_anew(server, raw, caplog, condition):
    """Whether the server honours If-Range or leaves it to us to look at the ETag."""
    before = Answer(headers={"ETag": '"a"'}, cut=300_000)
    after = Answer(headers={"ETag": '"b"'}, body=OTHER, condition=condition)
    assert raw(before, after) == OTHER
    assert server.asked[1][2] == '"a"'
    assert len(server.asked) == (2 if condition else 3)
    assert ("the file has changed on the server" in caplog.text) != condition
    assert "damaged" not in caplog.text  # The mixture was never assembled.


def test_a_changed_length_starts_anew(server, raw, caplog):
    """Without a validator the length has to tell."""
    assert raw(Answer(cut=300_000), Answer(body=OTHER + bytes(1), ranges=True)) == OTHER + bytes(1)
    assert "the file has changed on the server" in caplog.text


def test_a_connection_that_falls_silent_is_resumed(server, raw, caplog, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    stall = threading.Event()
    try:
        assert raw(Answer(cut=300_000, stall=stall), Answer()) == CONTENT
    finally:
        stall.set()
    assert "Read timed out" in caplog.text
    assert server.asked[1][1] is not None


def test_killed_midway_and_resumed(server, tmp_path):
    """kill -9 while the connection is open; the next run asks for the rest."""
    stall = threading.Event()
    server.answers["/raw.gz"] = [Answer(cut=300_000, stall=stall), Answer()]
    url, output, part = f"{server.url}/raw.gz", tmp_path / "raw.gz", tmp_path / "raw.gz.part"
    command = [sys.executable, "-m", "scripts.data.obtain", "--urls", url, "--output", str(output)]
    process = subprocess.Popen(command, cwd=ROOT)
    deadline = time.monotonic() + 30
    pause = threading.Event()
    while not (part.exists() and part.stat().st_size > 200_000):
        assert time.monotonic() < deadline
        assert process.poll() is None
        pause.wait(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    stall.set()
    assert not output.exists()
    obtain_url([url], output)
    assert output.read_bytes() == CONTENT
    assert int(server.asked[1][1][6:-1]) > 200_000


# ---- answers that are no file --------------------------------------------------------------------


def test_redirects_are_followed(server, raw):
    server.answers["/elsewhere/b.gz"] = [Answer(cut=300_000), Answer()]
    moved = Answer(302, headers={"Location": "/elsewhere/b.gz"})
    assert raw(moved) == CONTENT
    assert [path for path, _, _ in server.asked] == ["/raw.gz", "/elsewhere/b.gz"] * 2
    assert server.asked[3][1] is not None


REFUSED = {
    "circle": (Answer(302, headers={"Location": "/raw.gz"}), "Exceeded 30 redirects", []),
    "missing": (Answer(404), r"raw\.gz: 404", []),
    "without content": (Answer(204), r"5 attempts \(unexpected answer 204", [2.0, 4.0, 8.0, 16.0]),
    "busy": (Answer(503), "given up after 5 attempts", [2.0, 4.0, 8.0, 16.0]),
    "told too short": (Answer(lie=-1000), "is damaged", []),
}


@pytest.mark.parametrize(("answer", "says", "waited"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_file_is_refused_at_once_or_after_waits(
    raw, tmp_path, waits, answer, says, waited
):
    with pytest.raises(InputError, match=rf"{says}.*put the file by hand at .*raw\.gz"):
        raw(answer)
    assert waits == waited
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        *(("7", 7, 7), ("1", 2, 2), ("100000", 300, 300), ("soon", 2, 2)),
        *(("Mon, 01 Jan 2018 00:00:00 GMT", 2, 2), (60, 50, 60)),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_retry_after_is_honoured_within_bounds(raw, waits, status, asked, low, high):
    """Seconds or a date, the last here about a minute ahead."""
    if isinstance(asked, int):
        ahead = time.gmtime(time.time() + asked)
        asked = time.strftime("%a, %d %b %Y %H:%M:%S GMT", ahead)
    assert raw(Answer(status, headers={"Retry-After": asked}), Answer()) == CONTENT
    assert len(waits) == 1
    assert low <= waits[0] <= high


# ---- lies and damage -----------------------------------------------------------------------------


ZIP = zipped({"ratings.dat": CONTENT})
DAMAGED = {
    "wrong checksum inside": CONTENT[:-8] + bytes(8),
    "flipped bit of a zip file": ZIP[:1000] + bytes([ZIP[1000] ^ 1]) + ZIP[1001:],
    "flipped bit": CONTENT[:1000] + bytes([CONTENT[1000] ^ 1]) + CONTENT[1001:],
    "truncated tail": CONTENT[:-5],
    "a web page": b"<html>Please log in</html>",
    "empty": b"",
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_body_is_deleted_and_fetched_once_more(server, raw, tmp_path, body):
    with pytest.raises(InputError, match=r"twice, is damaged \(.+\) and was deleted.*by hand"):
        raw(Answer(body=body))
    assert names(tmp_path) == []
    assert [asked for _, asked, _ in server.asked] == [None, None]
    assert raw(Answer(body=body), Answer()) == CONTENT


PACKED = {
    "gzip": CONTENT,
    "bzip2": bz2.compress(bytes(1000)),
    "xz": lzma.compress(bytes(1000)),
    "Zstandard": pa.compress(bytes(1000), codec="zstd", asbytes=True),
    "Parquet": b"PAR1" + bytes(100) + b"PAR1",
    "zip": ZIP,
}


@pytest.mark.parametrize("body", PACKED.values(), ids=PACKED)
@pytest.mark.parametrize("name", ["raw?download=1", "RAW"])
def test_a_packed_file_is_known_by_its_content(fetch, tmp_path, name, body):
    lock = tmp_path / "checksums.json"
    with pytest.raises(InputError, match="twice, is damaged"):
        fetch(name, body[:-3], checksums=lock)
    assert fetch(name, body, checksums=lock) == body
    assert not lock.exists()


def test_what_nothing_reads_is_named(fetch):
    with pytest.raises(InputError, match=r"twice, is damaged .*git lfs pull"):
        fetch("raw?download=1", b"version https://git-lfs.github.com/spec/v1")


def test_other_files_are_taken_as_they_are(fetch):
    assert fetch("plain.json", b"{}\n") == b"{}\n"


# ---- mirrors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(503), Answer(body=b"damaged"), Answer(cut=100_000, ranges=False)],
    ids=["missing", "busy", "damaged", "cut"],
)
def test_a_mirror_is_tried(server, raw, tmp_path, answer):
    server.answers["/mirror.gz"] = [Answer()]
    assert raw(answer, mirrors=("/mirror.gz",)) == CONTENT
    assert server.asked[-1] == ("/mirror.gz", None, None)
    assert names(tmp_path) == ["raw.gz"]


def test_the_first_address_is_preferred_and_progress_shown(server, raw, capsys):
    server.answers["/mirror.gz"] = [Answer(body=OTHER)]
    assert raw(Answer(), mirrors=("/mirror.gz",)) == CONTENT
    assert "raw.gz (blocks of 64 kB): 100%" in capsys.readouterr().err


def test_every_address_given_up_is_named(server, raw):
    server.answers["/mirror.gz"] = [Answer(410)]
    with pytest.raises(InputError, match=r"raw\.gz: 404.*mirror\.gz: 410.*by hand at"):
        raw(Answer(404), mirrors=("/mirror.gz",))


def test_the_address_of_a_part_goes_on_before_the_others(server, raw, tmp_path):
    server.answers["/mirror.gz"] = [Answer()]
    leave_part(tmp_path, f"{server.url}/mirror.gz")
    assert raw(Answer(body=OTHER), mirrors=("/mirror.gz",)) == CONTENT
    assert server.asked == [("/mirror.gz", "bytes=300000-", None)]


def test_a_part_outlives_a_mirror_that_gives_nothing(server, raw, tmp_path):
    server.answers["/mirror.gz"] = [Answer(404)]
    with pytest.raises(InputError):
        raw(Answer(cut=300_000), Answer(503), mirrors=("/mirror.gz",))
    assert names(tmp_path) == ["raw.gz.part", "raw.gz.part.json"]
    assert raw(Answer(), mirrors=("/mirror.gz",)) == CONTENT
    assert server.asked[-1][1] is not None


# ---- the lock file -------------------------------------------------------------------------------


def record(url, lock):
    """What the preparation does, once it has read the file."""
    found = Checksum(sha256=hashlib.sha256(CONTENT).hexdigest(), bytes=len(CONTENT))
    assert not difference(url, Path("raw.gz"), found, lock, learn=True)


def test_a_download_is_held_to_the_record_and_records_nothing(server, raw, tmp_path):
    lock = tmp_path / "config" / "checksums.json"
    url = f"{server.url}/raw.gz"
    raw(Answer(), checksums=lock)
    assert not lock.exists()
    record(url, lock)
    (tmp_path / "raw.gz").unlink()
    with pytest.raises(InputError, match=r"what arrived was deleted.*SHA-256.*checksums\.json"):
        raw(Answer(body=OTHER), checksums=lock)
    assert names(tmp_path) == ["config"]
    # A mirror is held to the first address's checksum.
    server.answers |= {"/bad.gz": [Answer(body=OTHER)], "/good.gz": [Answer()]}
    assert raw(Answer(404), mirrors=("/bad.gz", "/good.gz"), checksums=lock) == CONTENT
    assert list(json.loads(lock.read_text())) == [url]


def test_a_malformed_lock_file_costs_no_download(server, raw, tmp_path):
    lock = tmp_path / "checksums.json"
    lock.write_text("<<<<<<< HEAD\n")
    with pytest.raises(InputError, match="restore the committed file"):
        raw(Answer(), checksums=lock)
    lock.unlink()
    assert raw(Answer(), checksums=lock) == CONTENT
    assert server.asked[-1][1] == f"bytes={len(CONTENT)}-"


# ---- offline -------------------------------------------------------------------------------------


@pytest.fixture
def nowhere():
    """An address whose connections are refused."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{free.getsockname()[1]}/raw.gz"


def test_nobody_answers(nowhere, tmp_path, waits):
    with pytest.raises(InputError, match=r"given up after 5 attempts.*by hand at"):
        obtain(tmp_path / "raw.gz", urls=[nowhere])
    assert len(waits) == 4


def test_a_file_put_there_by_hand_needs_no_network(nowhere, tmp_path, waits):
    output, lock = tmp_path / "raw.gz", tmp_path / "checksums.json"
    output.write_bytes(CONTENT)
    obtain(output, urls=[nowhere], checksums=lock)
    assert output.read_bytes() == CONTENT
    assert not waits
    assert not lock.exists()
    record(nowhere, lock)
    # Held to the record like any other, and to be whole, but never deleted.
    for content, said in (
        (OTHER, "obtain the recorded file"),
        (CONTENT[:-1], r"raw\.gz: the file is damaged .* delete it"),
    ):
        output.write_bytes(content)
        with pytest.raises(InputError, match=said):
            obtain(output, urls=[nowhere], checksums=lock)
        assert output.read_bytes() == content


def test_no_address(tmp_path):
    with pytest.raises(InputError, match="put the file by hand"):
        obtain_url(["no/address.gz"], tmp_path / "raw.gz")
    with pytest.raises(InputError, match="--urls"):
        obtain(tmp_path / "raw.gz", requirement="name==1.0")


# ---- as a rule -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_rule_downloads_from_mirrors_and_accepts_files_put_by_hand(server, tmp_path):
    """One file is downloaded by the workflow, the other one lies there already."""
    server.answers = {"/reviews.json.gz": [Answer(404)], "/mirror.gz": [Answer()]}
    urls = [f"{server.url}/reviews.json.gz", f"{server.url}/mirror.gz"]
    study = yaml.safe_load((ROOT / "config/amazon-small.yaml").read_text(encoding="utf-8"))
    source = study["datasets"]["gift-cards"]["source"]
    source |= {"reviews": urls, "metadata": f"{server.url}/metadata.json.gz"}
    config = tmp_path / "study.yaml"

    def told(*options):
        config.write_text(yaml.safe_dump(study), encoding="utf-8")
        done = snakemake(tmp_path, *options, *ELSEWHERE, "--configfile", str(config))
        return done.stdout + done.stderr

    raw = tmp_path / "resources/raw"
    told("resources/raw/reviews.json.gz")
    assert names(raw) == ["reviews.json.gz"]
    assert (raw / "reviews.json.gz").read_bytes() == CONTENT
    assert not (tmp_path / "config/checksums.json").exists()
    asked = len(server.asked)

    prepare = ("--dry-run", "results/amazon-small/data/gift-cards/preparation.json")
    (raw / "metadata.json.gz").write_bytes(OTHER)
    source["reviews"] = [*urls, f"{server.url}/new-mirror.gz"]
    planned = told(*prepare)
    assert "rule prepare:" in planned
    assert "rule download:" not in planned
    # Another address is another file, under whatever name.
    source["reviews"] = [f"{server.url}/new/reviews.json.gz"]
    assert "rule download:" in told(*prepare)
    assert len(server.asked) == asked


# ---- wheels --------------------------------------------------------------------------------------


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip's network: a wheel made here lands in the folder that pip was given."""

    def fetch(command, **options):
        assert not options.get("shell")
        folder = Path(command[command.index("--dest") + 1])
        (folder / "name-1.0-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", fetch)


def test_a_wheel_is_held_to_its_checksum_and_leaves_nothing_else(pip, tmp_path):
    output = tmp_path / "wheels" / "name.whl"
    with pytest.raises(InputError, match=r"name==1\.0: the SHA-256 of .* is .*expected 0000"):
        obtain_wheel("name==1.0", "0" * 64, output)
    assert names(output.parent) == []
    obtain(output, requirement="name==1.0", sha256=hashlib.sha256(b"wheel").hexdigest())
    assert output.read_bytes() == b"wheel"
    assert names(output.parent) == ["name.whl"]


def test_a_failure_of_pip_is_named_and_a_wheel_put_there_by_hand_is_verified_without(tmp_path):
    # No such local folder, so pip fails without a network.
    absent, output = str(tmp_path / "absent"), tmp_path / "name.whl"
    with pytest.raises(InputError, match=r"pip could not fetch the wheel.*by hand at"):
        obtain_wheel(absent, "0" * 64, output)
    assert names(tmp_path) == []
    output.write_bytes(b"by hand")
    obtain_wheel(absent, sha256(output), output)
    with pytest.raises(InputError, match="expected 0000"):
        obtain_wheel(absent, "0" * 64, output)
    assert output.read_bytes() == b"by hand"
