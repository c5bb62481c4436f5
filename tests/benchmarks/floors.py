"""What any reader of the raw files does at least: inflate them."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

from scripts.command import run
from scripts.data.content import open_text


def floor(kind: Literal["isal", "gzip"], folder: Path) -> None:
    """Inflate a made-up set and throw the bytes away.

    Args:
        kind: As our reader opens a file (ISA-L in a thread of its own), or by Python's gzip.
        folder: The set's folder.
    """
    for file in folder.glob("*.json.gz"):
        with open_text(file) if kind == "isal" else gzip.open(file) as stream:
            while getattr(stream, "buffer", stream).read(1 << 20):
                pass


if __name__ == "__main__":
    run(floor)
