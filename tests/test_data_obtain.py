"""Downloads against a local server that misbehaves."""

import gzip
import http.server
import random
import subprocess
import threading
from pathlib import Path

import pytest

from scripts.command import InputError
from scripts.data import obtain as module
from scripts.data.obtain import obtain, obtain_url, obtain_wheel
from scripts.files import sha256

CONTENT = gzip.compress(random.Random(0).randbytes(500_000))


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        asked = self.headers.get("Range")
        self.server.ranges.append(asked)
        if self.path in ("/gone.gz", "/busy.gz"):
            self.send_error(404 if self.path == "/gone.gz" else 503)
            return
        start = int(asked[6:-1]) if asked and self.path != "/norange.gz" else 0
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = CONTENT[start:]
        if self.path == "/damaged.gz":
            body = body[:-8] + bytes(8)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = self.path in ("/cut.gz", "/norange.gz") and len(self.server.ranges) == 1
        self.wfile.write(body[: 300_000 if cut else None])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.01)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ranges = []
    server.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_cut_connection_is_resumed(server, tmp_path):
    output = tmp_path / "new" / "raw.gz"
    obtain(output, url=f"{server.url}/cut.gz")
    assert output.read_bytes() == CONTENT
    assert names(output.parent) == ["raw.gz"]
    first, second = server.ranges
    assert first is None
    assert 0 < int(second[6:-1]) <= 300_000


def test_a_server_that_cannot_resume_starts_anew(server, tmp_path):
    obtain_url(f"{server.url}/norange.gz", tmp_path / "raw.gz")
    assert (tmp_path / "raw.gz").read_bytes() == CONTENT


@pytest.mark.parametrize("have", [1_000, len(CONTENT)])
def test_what_an_earlier_run_left_is_kept(server, tmp_path, have):
    (tmp_path / "raw.gz.part").write_bytes(CONTENT[:have])
    obtain_url(f"{server.url}/good.gz", tmp_path / "raw.gz")
    assert (tmp_path / "raw.gz").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={have}-"]


def test_a_part_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "raw.gz.part").write_bytes(CONTENT + b"more")
    obtain_url(f"{server.url}/good.gz", tmp_path / "raw.gz")
    assert (tmp_path / "raw.gz").read_bytes() == CONTENT


def test_a_missing_file_is_named_with_the_remedy(server, tmp_path):
    with pytest.raises(InputError, match=r"gone\.gz: 404.*put the file by hand at .*raw\.gz"):
        obtain_url(f"{server.url}/gone.gz", tmp_path / "raw.gz")
    assert len(server.ranges) == 1
    assert names(tmp_path) == []


def test_a_busy_server_is_given_up(server, tmp_path):
    with pytest.raises(InputError, match="given up after 5 attempts"):
        obtain_url(f"{server.url}/busy.gz", tmp_path / "raw.gz")
    assert len(server.ranges) == 5


def test_a_damaged_gzip_is_deleted(server, tmp_path):
    with pytest.raises(InputError, match="no intact gzip file"):
        obtain_url(f"{server.url}/damaged.gz", tmp_path / "raw.gz")
    assert names(tmp_path) == []


def test_no_address(tmp_path):
    with pytest.raises(InputError, match="put the file by hand"):
        obtain_url("no/address.gz", tmp_path / "raw.gz")
    with pytest.raises(InputError, match="--url"):
        obtain(tmp_path / "raw.gz", requirement="name==1.0")


@pytest.fixture
def pip(monkeypatch):
    """Stands in for pip's network: a wheel made here lands in the folder that pip was given."""

    def fetch(command, **options):
        assert not options.get("shell")
        folder = Path(command[command.index("--dest") + 1])
        (folder / "name-1.0-py3-none-any.whl").write_bytes(b"wheel")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", fetch)


def test_wheel_with_another_checksum_leaves_nothing(pip, tmp_path):
    with pytest.raises(InputError, match=r"name==1\.0: the wheel's SHA-256 is .*expected 0000"):
        obtain_wheel("name==1.0", "0" * 64, tmp_path / "name.whl")
    assert names(tmp_path) == []


def test_wheel_with_the_right_checksum(pip, tmp_path):
    (tmp_path / "same").write_bytes(b"wheel")
    output = tmp_path / "wheels" / "name.whl"
    obtain(output, requirement="name==1.0", sha256=sha256(tmp_path / "same"))
    assert output.read_bytes() == b"wheel"
    assert names(output.parent) == ["name.whl"]


def test_pip_failure_is_named(tmp_path):
    # No such local folder, so pip fails without a network.
    with pytest.raises(InputError, match=r"pip could not fetch the wheel.*by hand at"):
        obtain_wheel(str(tmp_path / "absent"), "0" * 64, tmp_path / "name.whl")
    assert names(tmp_path) == []
