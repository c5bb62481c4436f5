"""The bare inflate: the least that any reader of the raw files has to do."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Literal

from scripts.command import run
from scripts.data.content import open_text

BLOCK = 1 << 20


def inflate(files: list[Path], reader: Literal["ours", "gzip"]) -> None:
    """Inflate files and throw the bytes away.

    Args:
        files: Gzipped files.
        reader: As our reader opens a file (ISA-L in a thread of its own), or Python's gzip module.
    """
    for file in files:
        with open_text(file).buffer if reader == "ours" else gzip.open(file) as stream:
            while stream.read(BLOCK):
                pass


if __name__ == "__main__":
    run(inflate)
