"""What a raw file is, told by its content and never by its name, and its bytes unpacked."""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from isal import igzip_threaded
from isal.isal_zlib import IsalError

from scripts.command import InputError

#: Bytes that tell what a file is.
HEAD = 512

#: What is packed may hold so many bytes, or so many times its own.
ROOM, RATIO = 1 << 28, 200

PARQUET = b"PAR1"

#: How text says its own encoding; the mark of UTF-32 begins like that of UTF-16.
MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

#: What shows a file to be damaged.
DAMAGE = (EOFError, OSError, IsalError, zlib.error, lzma.LZMAError, zipfile.BadZipFile)

_AS_TABLE = "save it as CSV or Parquet"
_UNPACK = "unpack it, and name the one file that is meant"
#: How files begin that nothing here reads: what they are, and the remedy.
FOREIGN = {
    rb"version https://git-lfs": ("a Git LFS pointer, not the file itself", "run `git lfs pull`"),
    rb"\s*<": ("a web page or XML, no data", "delete it and obtain the file itself"),
    PARQUET: ("Parquet, packed or where text is expected", "unpack it, and use the kind `local`"),
    rb"\x80[\x02-\x05]": ("a Python pickle, which could run code", _AS_TABLE),
    rb"\x1f\x8b|BZh[1-9]1AY|\xfd7zXZ\x00|\x28\xb5\x2f\xfd|PK\x03\x04": (
        "packed once more than is read",
        _UNPACK,
    ),
    rb"Rar!|7z\xbc\xaf|(?s:.{257})ustar": ("an archive", _UNPACK),
    rb"[^\x00]*\x00": (
        "binary data, or UTF-16 without a mark",
        f"{_AS_TABLE}, or set a local source's `encoding`",
    ),
}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever shows a file to be missing or damaged into a message that names it.

    Raises:
        InputError: the file is missing, truncated or corrupt, or no text of its encoding.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; obtain it or mend the configured path") from error
    except (IsADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name one file") from error
    except DAMAGE as error:
        raise InputError(
            f"{path}: the file is truncated or corrupt ({error}); delete it and obtain it again"
        ) from error
    except UnicodeError as error:
        raise InputError(
            f"{path}: is no text of its encoding ({error}); set the source's `encoding` (and "
            "`delimiter`), or save it as UTF-8"
        ) from error


def check_size(path: Path, size: int) -> None:
    """Check how many bytes a packed file holds, as far as is known.

    Raises:
        InputError: they are too many for any data.
    """
    if size > max(ROOM, RATIO * path.stat().st_size):
        raise InputError(
            f"{path}: holds more than {ROOM >> 20} MB and {RATIO} times its own size: no data are "
            "packed like that; obtain it again or, if it is meant, unpack it yourself"
        )


class _Bounded(io.RawIOBase):
    """What a packed file holds, as far as `check_size` lets it be read."""

    def __init__(self, path: Path, stream: IO[bytes]) -> None:
        self.path, self.stream, self.size = path, stream, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self.stream.readinto(buffer)
        self.size += count
        check_size(self.path, self.size)
        return count

    def close(self) -> None:
        self.stream.close()
        super().close()


def unpacked(path: Path) -> IO[bytes] | None:
    """What a packed file holds; None where it is not packed."""
    unpack = packing(head(path))
    return unpack and io.BufferedReader(_Bounded(path, unpack(path)), 1 << 18)


def _zstandard(path: Path) -> IO[bytes]:
    return io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd"))


def archive_of(path: Path) -> zipfile.ZipFile:
    """Open a zip archive whose files together are not too large, see `check_size`."""
    archive = zipfile.ZipFile(path)
    check_size(path, sum(info.file_size for info in archive.infolist()))
    return archive


def _only_member(path: Path) -> IO[bytes]:
    archive = archive_of(path)
    names = [
        name
        for name in archive.namelist()
        if not name.endswith("/") and not name.startswith("__MACOSX/")
    ]
    if "xl/workbook.xml" in names:
        raise InputError(f"{path}: is an Excel workbook; {_AS_TABLE}")
    if len(names) != 1:
        raise InputError(f"{path}: is an archive of {len(names)} files {names[:9]}; {_UNPACK}")
    try:
        return archive.open(names[0])
    except RuntimeError as error:  # A password, or a method that is not known.
        raise InputError(f"{path}: cannot be unpacked ({error}); {_UNPACK}") from error


#: How packed files begin, and what opens them. Inflating has a thread of its own.
PACKED: dict[bytes, Callable[[Path], IO[bytes]]] = {
    rb"\x1f\x8b": lambda path: igzip_threaded.open(path, "rb", threads=1),
    rb"BZh[1-9]1AY": bz2.open,
    rb"\xfd7zXZ\x00": lzma.open,
    rb"\x28\xb5\x2f\xfd": _zstandard,
    rb"PK\x03\x04": _only_member,
}


def head(path: Path) -> bytes:
    """The first bytes of a file as they are."""
    with path.open("rb") as stream:
        return stream.read(HEAD)


def packing(begin: bytes) -> Callable[[Path], IO[bytes]] | None:
    """What opens a packed file that begins so; None for any other."""
    return next((unpack for start, unpack in PACKED.items() if re.match(start, begin)), None)


def foreign(begin: bytes, encoding: str = "utf-8") -> str:
    """What a file is that begins so and that nothing here reads, with the remedy; else empty."""
    if _wide(encoding):
        return ""
    text = begin.removeprefix(codecs.BOM_UTF8)
    found = (f"{what}; {do}" for start, (what, do) in FOREIGN.items() if re.match(start, text))
    return next(found, "")


def encoding_of(begin: bytes, given: str | None = None) -> str:
    """The encoding of a text that begins so: what its byte order mark tells, else the given one,
    else UTF-8, also where a UTF-16 is given that this cannot be."""
    marked = next((name for mark, name in MARKS.items() if begin.startswith(mark)), None)
    return marked or (given if given and (b"\0" in begin or not _wide(given)) else "utf-8")


def _wide(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def open_text(path: Path, encoding: str | None = None) -> io.TextIOWrapper:
    """Open a file of text, unpacked where it is packed, in the encoding that `encoding_of` tells.

    Bytes that are no text become lone surrogates, which no text may hold.

    Raises:
        InputError: it holds something that nothing here reads.
    """
    stream = unpacked(path) or path.open("rb")
    begin = stream.peek(HEAD)[:HEAD]
    text = as_text(stream, encoding_of(begin, encoding))
    if found := foreign(begin, text.encoding):
        text.close()
        raise InputError(f"{path}: is {found}")
    return text


def as_text(stream: IO[bytes], encoding: str) -> io.TextIOWrapper:
    """Bytes as text, see `open_text`; line ends stay as they are."""
    errors = "surrogatepass" if _wide(encoding) else "surrogateescape"
    return io.TextIOWrapper(stream, encoding, errors=errors, newline="")


@contextmanager
def utf8_reader(path: Path, encoding: str | None = None) -> Iterator[Callable[[int], bytes]]:
    """Open a file of text, see `open_text`: what reads about so many bytes of it in UTF-8.

    Text that is in UTF-8 already is passed on as it is.
    """
    with open_text(path, encoding) as text:
        if codecs.lookup(text.encoding).name == "utf-8":
            yield text.buffer.read
        else:
            yield lambda size: text.read(size).encode("utf-8", text.errors)


def damage(path: Path) -> str:
    """What is wrong inside a file that can tell, read to its end; empty where nothing is.

    Packed files carry checksums of their content, and Parquet ends as it begins.
    """
    begin = head(path)
    if not begin:
        return "empty"
    try:
        if re.match(rb"PK\x03\x04", begin):
            with archive_of(path) as archive:
                bad = archive.testzip()
            return f"bad checksum of {bad}" if bad else ""
        if stream := unpacked(path):
            with stream:
                while stream.read(1 << 20):
                    pass
            return ""
        if begin.startswith(PARQUET):
            with path.open("rb") as stream:
                stream.seek(-len(PARQUET), io.SEEK_END)
                return "" if stream.read() == PARQUET else "a Parquet file without its end"
    except (*DAMAGE, InputError, RuntimeError) as error:  # The last where a password is asked.
        return str(error)
    return foreign(begin, encoding_of(begin))
