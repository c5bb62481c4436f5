"""What any reader of the raw files does at least: inflate them, and hold the distinct ids."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

from scripts.command import run
from scripts.data.content import open_text


def floor(kind: Literal["ids", "isal", "gzip"], folder: Path) -> None:
    """Do one of them with a made-up set.

    Args:
        kind: A dict from every distinct id to its code; or inflate and throw the bytes away, as our
            reader opens a file (ISA-L in a thread of its own) or with Python's gzip module.
        folder: The set's folder.
    """
    if kind == "ids":
        # Their time and memory are none of the inflating's.
        from scripts.files import read_json
        from tests.benchmarks.generate import item_id, user_id

        found = read_json(folder / "facts.json")
        users = {user_id(code): code for code in range(found["users"])}
        items = {item_id(code): code for code in range(found["items"])}
        assert len(users) + len(items) == found["users"] + found["items"]
        return
    for file in folder.glob("*.json.gz"):
        with open_text(file) if kind == "isal" else gzip.open(file) as stream:
            while getattr(stream, "buffer", stream).read(1 << 20):
                pass


if __name__ == "__main__":
    run(floor)
