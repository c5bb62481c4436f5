"""Lock files of raw files: what each address gave the first time is enforced from then on.

What a checkout records is enforced in whatever folder its workflow runs; what is new is recorded in
that folder.
"""

from __future__ import annotations

import logging
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from scripts.command import InputError, Settings, alone
from scripts.files import sha256, write_json

log = logging.getLogger(__name__)

#: The checkout's lock file.
CHECKOUT = Path(__file__).resolve().parents[2] / "config/checksums.json"


class Checksum(Settings):
    """What identifies the content of a file."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256, in lower-case hexadecimal digits."""
    bytes: int = Field(ge=0)
    """Length."""


LOCK = TypeAdapter(dict[str, Checksum])


def checksum_of(path: Path) -> Checksum:
    """SHA-256 and length of a file."""
    return Checksum(sha256=sha256(path), bytes=path.stat().st_size)


def recorded(lock: Path) -> dict[str, tuple[Checksum, Path]]:
    """What is recorded of each address, and in which file: the checkout's before `lock`.

    Raises:
        InputError: one of the two is malformed.
    """
    files = (lock, CHECKOUT)
    return {url: (entry, file) for file in files for url, entry in _read(file).items()}


def difference(url: str, path: Path, found: Checksum, lock: Path, learn: bool = False) -> str:
    """How a raw file differs from that `recorded`, as a message; empty where it does not.

    Args:
        url: The primary address of the file, its key in the lock file, wherever the file is from.
        path: The file, for the message; `found` is its checksum.
        lock: JSON, `{address: {"sha256": …, "bytes": …}}`; it need not exist.
        learn: Whether the lock file learns the file where it does not know it yet, which only a
            file may that has been read to its end. Where it cannot be written, a warning says so.

    Raises:
        InputError: a lock file is malformed.
    """
    entry = recorded(lock).get(url)
    known, lock = entry or (_record(url, found, lock) if learn else found, lock)
    if known == found:
        return ""
    return (
        f"{path}: its SHA-256 is {found.sha256} ({found.bytes} bytes), but {lock} records "
        f"{known.sha256} ({known.bytes} bytes) for {url}; obtain the recorded file or, if the "
        f"new one is right, delete the entry in {lock} and run again"
    )


def _read(lock: Path) -> dict[str, Checksum]:
    if not lock.exists():
        return {}
    try:
        return LOCK.validate_json(lock.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"]))
        raise InputError(
            f"{lock}: {key}{key and ': '}{fault['msg']}; mend it, or restore the committed file"
        ) from error


def _record(url: str, found: Checksum, lock: Path) -> Checksum:
    """Record a checksum, unless another process was quicker, and return what then stands there."""
    try:
        with alone(lock):
            entries = _read(lock)
            if url in entries:
                return entries[url]
            known = LOCK.dump_python(entries | {url: found}, mode="json")
            write_json(known, lock, sealed=False)
    except OSError as error:
        log.warning("%s: cannot be written (%s); %s stays unrecorded", lock, error, url)
    else:
        log.info("%s: first seen; its SHA-256 is now in %s: commit that file", url, lock)
    return found
