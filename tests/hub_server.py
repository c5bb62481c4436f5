"""A small model hub on this machine, which speaks the protocol that huggingface_hub 2.4 uses.

What is uploaded with a login lies there at once; a file `.visibility` says who may see it.

`<folder>/<organisation>/<name>/` is a repository. Its branch `main` is what lies there now, as one
commit that is known by the content. A file `.gated` within means that its files need a login.
`<folder>/files/` is served as it is, under `/files/`. The server's `address` is for `HF_ENDPOINT`.
"""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

#: What the hub keeps in Git LFS: sent from another host, without a login, and known by its SHA-256.
LARGE = (".safetensors", ".bin", ".pth")


class HubServer(ThreadingHTTPServer):
    """Serves a folder.

    `sent` lists what was answered: method, path, status and bytes of content. By a file's path in
    the folder, `spoiled` holds the content that is sent in the place of the right one, and `cuts`
    after how many bytes the connection is cut, for one answer after the other. With `broken`,
    every answer is this status, and empty.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.folder = folder
        self.address = f"http://127.0.0.1:{self.server_port}"
        self.sent: list[tuple[str, str, int, int]] = []
        self.spoiled: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.broken = 0


@cache
def digests(path: Path, size: int, changed: int) -> tuple[str, str]:
    """A file's name in Git and its SHA-256."""
    content = path.read_bytes()
    git = hashlib.sha1(b"blob %d\0" % size + content).hexdigest()
    return git, hashlib.sha256(content).hexdigest()


def tree(repository: Path) -> list[dict[str, Any]]:
    """The files of a repository, as the hub lists them."""
    entries = []
    for path in sorted(repository.rglob("*")):
        name = path.relative_to(repository).as_posix()
        if path.is_dir() or name.startswith("."):
            continue
        stat = path.stat()
        git, sha256 = digests(path, stat.st_size, stat.st_mtime_ns)
        entry = {"type": "file", "path": name, "size": stat.st_size, "oid": git}
        if path.suffix in LARGE:
            entry["lfs"] = {"oid": sha256, "size": stat.st_size, "pointerSize": 134}
        entries.append(entry)
    return entries


def commit_of(repository: Path) -> str:
    """The commit of a repository: 40 hexadecimal digits that follow from its files."""
    return hashlib.sha1(json.dumps(tree(repository)).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    server: HubServer

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if self.server.broken:
            self.answer(self.server.broken)
        elif parts[0] == "files":
            self.file(self.server.folder.joinpath(*parts), {})
        elif parts[:2] == ["api", "models"] and len(parts) >= 4:
            self.api(parts[2:4], *(parts[4:] or ["revision", "main"]))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self.resolve(parts[:2], parts[3], "/".join(parts[4:]))
        elif len(parts) >= 5 and parts[2] == "lfs" and "Authorization" not in self.headers:
            self.file(self.server.folder.joinpath(*parts[:2], *parts[4:]), {})
        else:
            self.answer(404)

    def do_POST(self) -> None:
        """Make a repository, or take a commit."""
        content = self.rfile.read(int(self.headers["Content-Length"]))
        parts, said = unquote(urlsplit(self.path).path).strip("/").split("/"), {}
        if self.server.broken or "Authorization" not in self.headers:
            return self.answer(self.server.broken or 401)
        if parts[1:] == ["repos", "create"]:
            asked = json.loads(content)
            folder = self.server.folder / asked["organization"] / asked["name"]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".visibility").write_text(asked["visibility"])
            said = {"url": f"{self.server.address}/{asked['organization']}/{asked['name']}"}
        elif parts[4:5] == ["preupload"]:
            regular = {"uploadMode": "regular", "shouldIgnore": False}
            files = json.loads(content)["files"]
            said = {"files": [{"path": file["path"]} | regular for file in files]}
        elif parts[4:5] == ["commit"]:
            folder = self.server.folder.joinpath(*parts[2:4])
            for entry in map(json.loads, content.splitlines()):
                if entry["key"] == "file":
                    file = b64decode(entry["value"]["content"])
                    (folder / entry["value"]["path"]).write_bytes(file)
            commit = commit_of(folder)
            url = f"{self.server.address}/{'/'.join(parts[2:4])}/commit/{commit}"
            said = {"commitUrl": url, "commitOid": commit}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())

    def repository(self, name: list[str], revision: str) -> Path | None:
        """Folder of a repository at a revision; None once refused."""
        path = self.server.folder.joinpath(*name)
        if not path.is_dir():
            # The hub does not say which private repositories there are.
            self.answer(401, {"X-Error-Code": "RepoNotFound"})
        elif revision not in ("main", commit_of(path)):
            self.answer(404, {"X-Error-Code": "RevisionNotFound"})
        else:
            return path
        return None

    def api(self, name: list[str], what: str, revision: str) -> None:
        """What there is: information on a revision, or its tree."""
        if (repository := self.repository(name, revision)) is None:
            return
        files: Any = tree(repository)
        if what != "tree":
            siblings = [{"rfilename": entry["path"]} for entry in files]
            files = {"id": "/".join(name), "sha": commit_of(repository), "siblings": siblings}
        self.answer(200, {"Content-Type": "application/json"}, json.dumps(files).encode())

    def resolve(self, name: list[str], revision: str, file: str) -> None:
        """One file, or where a large one is."""
        if (repository := self.repository(name, revision)) is None:
            return
        entry = next((entry for entry in tree(repository) if entry["path"] == file), None)
        headers = {"X-Repo-Commit": commit_of(repository)}
        if entry is None:
            self.answer(404, headers | {"X-Error-Code": "EntryNotFound"})
        elif (repository / ".gated").exists() and "Authorization" not in self.headers:
            self.answer(401, {"X-Error-Code": "GatedRepo"})
        elif "lfs" in entry:
            store = self.server.address.replace("127.0.0.1", "localhost")
            place = f"{store}/{'/'.join(name)}/lfs/{revision}/{file}"
            linked = {
                "X-Linked-Size": str(entry["size"]),
                "X-Linked-ETag": f'"{entry["lfs"]["oid"]}"',
            }
            self.answer(302, headers | linked | {"Location": place})
        else:
            self.file(repository / file, headers | {"ETag": f'"{entry["oid"]}"'})

    def file(self, path: Path, headers: dict[str, str]) -> None:
        """A file's content, or what is asked for of it."""
        if not path.is_file():
            return self.answer(404, headers)
        name, cut = path.relative_to(self.server.folder).as_posix(), None
        content = path.read_bytes()
        if self.command == "GET":
            content = self.server.spoiled.get(name, content)
            if cuts := self.server.cuts.get(name):
                cut = cuts.pop(0)
        total, status, start, end = len(content), 200, 0, len(content)
        if (asked := self.headers.get("Range", "")).startswith("bytes="):
            first, _, last = asked[len("bytes=") :].partition("-")
            start, end, status = int(first), min(int(last or total - 1) + 1, total), 206
            if start >= total:
                return self.answer(416, {"Content-Range": f"bytes */{total}"})
            headers = headers | {"Content-Range": f"bytes {start}-{end - 1}/{total}"}
        self.answer(status, headers | {"Accept-Ranges": "bytes"}, content[start:end], cut)

    def answer(
        self,
        status: int,
        headers: dict[str, str] | None = None,
        content: bytes = b"",
        cut: int | None = None,
    ) -> None:
        """Send headers and content, of which the connection is `cut` after some bytes."""
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        sent = content[:cut] if self.command != "HEAD" else b""
        self.wfile.write(sent)
        self.close_connection = self.close_connection or cut is not None
        self.server.sent.append((self.command, urlsplit(self.path).path, status, len(sent)))

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def serve(folder: Path, port: int = 0) -> Iterator[HubServer]:
    """Serve a folder as long as the context lasts."""
    server = HubServer(folder, port)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
