"""Reading and writing files: nothing half-written ever bears a result's name."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from scripts.command import InputError
from scripts.contracts import TEXT

#: Key of a JSON file under which the checksum of its others stands.
SEAL = "sealed_sha256"


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write (a file or a folder); rename it on success.

    On an error the sibling is removed and `path` is left as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.*.partial"):
        if not _runs_beside(int(stale.name.split(".")[-2])):  # A killed run left it behind.
            _remove(stale)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        # A power cut after the renaming must not leave an empty file.
        for written in (partial, *partial.rglob("*")):
            descriptor = os.open(written, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        if path.is_dir() and partial.is_dir():  # A file takes the place of no folder.
            shutil.rmtree(path)
        partial.replace(path)
    finally:
        _remove(partial)


def freed_of_dead_runs(folder: Path) -> IO[str] | None:
    """Delete Snakemake's locks in its folder where no run is left: a killed one leaves them behind.

    Returns:
        what marks this run as living, until it is closed or its process ends; None where the file
        system has no locks, and the folder is left as it is.
    """
    folder.mkdir(exist_ok=True)
    stream = (folder / "living").open("a+", encoding="utf-8")
    try:
        with suppress(BlockingIOError):
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for lock in folder.glob("locks/*"):
                lock.unlink()
        fcntl.flock(stream, fcntl.LOCK_SH)
    except OSError:
        return None
    return stream


def _runs_beside(pid: int) -> bool:
    """Whether a process is there and not this one, as in a container numbers come again."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return pid != os.getpid()


def _remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(text: str, path: Path) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(value: dict[str, Any], path: Path, sealed: bool = True) -> None:
    """Write JSON atomically, indented, with a stable order of keys and, last, their checksum; files
    that others write or read too are not `sealed`."""
    keys = json.loads(json.dumps(value, sort_keys=True, default=str))
    keys |= {SEAL: _seal(keys)} if sealed else {}
    write_text(json.dumps(keys, indent=2) + "\n", path)


def _seal(keys: dict[str, Any]) -> str:
    """Checksum of keys and values, however they are set out."""
    return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def read_json(path: Path, needed: bool = True) -> dict[str, Any]:
    """Read the keys of a JSON file; one that `write_json` has sealed holds what was written. One
    that is not `needed` may be missing, and then has none.

    Raises:
        InputError: the file is missing, is no JSON, holds no keys, or was changed since it was
            sealed.
    """
    if not needed and not Path(path).is_file():
        return {}
    try:
        keys = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(keys, dict):
            raise ValueError("it holds no keys")
        if keys.pop(SEAL, None) not in (None, _seal(keys)):
            raise ValueError(
                f"it is damaged or was changed, as its {SEAL} tells; delete it and run again, or "
                f"delete its line {SEAL} if the change is meant"
            )
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    return keys


def entries(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The entries of nested JSON, each with its keys joined by dots; a list without keys is one."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = {str(i): one for i, one in enumerate(value)}
    if isinstance(value, dict):
        for name, one in value.items():
            yield from entries(one, f"{key}.{name}" if key else name)
    else:
        yield key, value


class PlainLoader(yaml.SafeLoader):
    """Reads YAML that means what it seems to: no key stands twice, as the last would win in
    silence, and no number is another one, as 010 is 8 and 1:30 is 90.

    Both are checked before anchors are filled in: what `<<` brings may be replaced.
    """

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        """A mapping; a ComposerError where a key stands twice."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue  # PyYAML says itself what can be no key.
            if key.value in seen:
                raise yaml.composer.ComposerError(
                    None, None, f"the key '{key.value}' stands twice", key.start_mark
                )
            seen.add(key.value)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value; a ConstructorError where it is none of its kind, as the day 2018-13-01."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError) as error:
            message = (
                f"{str(node.value)[:40]} cannot be read ({error}); put it in quotes if it is text"
            )
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark) from error

    def compose_scalar_node(self, anchor: str | None) -> yaml.ScalarNode:
        """A scalar; a ComposerError where it is a number to base 8 or 60."""
        node = super().compose_scalar_node(anchor)
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and re.fullmatch(r"[-+]?(0[0-7_]+|.*:.*)", node.value):
            message = f"YAML reads {node.value} as another number; put it in quotes if it is a name"
            raise yaml.composer.ComposerError(None, None, message, node.start_mark)
        return node


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the keys of a YAML file.

    Raises:
        InputError: the file cannot be read, holds no keys, or is not what it seems (`PlainLoader`).
    """
    try:
        keys = yaml.load(Path(path).read_text(encoding="utf-8"), PlainLoader)
    except UnicodeError as error:
        raise InputError(f"{path}: is no UTF-8 text; save it as UTF-8") from error
    except (OSError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({error})") from error
    if not isinstance(keys, dict):
        raise InputError(f"{path}: holds no keys; see config/README.md")
    return keys


def write_table(frame: pd.DataFrame, path: Path, schema: pa.Schema) -> None:
    """Write a data frame as Parquet with exactly the columns and types of `schema`, atomically."""
    table = pa.Table.from_pandas(frame[schema.names], schema=schema, preserve_index=False)
    with atomic(path) as partial:
        pq.write_table(
            table.replace_schema_metadata(None),
            partial,
            compression="zstd",
            write_page_checksum=True,
        )


def read_table(path: Path, schema: pa.Schema, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a Parquet file and check that it keeps its contract.

    Lists come back as numpy arrays of their item type.

    Raises:
        InputError: the file is missing, is no Parquet, or lacks or mistypes a column of `schema`.
    """
    try:
        found = pq.read_schema(path)
        for field in schema:
            if field.name not in found.names:
                raise InputError(f"{path}: column '{field.name}' is missing; found {found.names}")
            if found.field(field.name).type != field.type:
                raise InputError(
                    f"{path}: column '{field.name}' is {found.field(field.name).type}, "
                    f"expected {field.type}"
                )
        return pq.read_table(
            path, columns=columns or schema.names, page_checksum_verification=True
        ).to_pandas()
    except (OSError, pa.ArrowException, UnicodeError) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({error})") from error


def write_csv(frame: pd.DataFrame, path: Path, sealed: bool = False) -> None:
    """Write a tidy CSV atomically; floats keep full precision, missing values are empty. Its
    checksum lies beside one that is `sealed`, as a later step reads it."""
    seal = _seal_of(path)
    seal.unlink(missing_ok=True)  # A kill may come between the two.
    with atomic(path) as partial:
        frame.to_csv(partial, index=False, lineterminator="\n")
    if sealed:
        write_text(f"{sha256(path)}  {path.name}\n", seal)


def _seal_of(path: Path) -> Path:
    """Where the checksum of a CSV file lies, in the format of `sha256sum`."""
    return path.with_name(f".{path.name}.sha256")


def read_csv(path: Path) -> pd.DataFrame:
    """Read a tidy CSV; the columns of `TEXT` are text, and empty where a value is missing.

    Raises:
        InputError: the file is missing, empty or malformed, or was changed since it was sealed.
    """
    try:
        with Path(path).open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            if stream.read() != b"\n":
                raise ValueError("it is cut off: its last line has no end")
        seal = _seal_of(Path(path))
        if seal.exists() and seal.read_text().split()[:1] != [sha256(path)]:
            raise ValueError(
                f"it is damaged or was changed, as {seal.name} tells; delete it and run again, or "
                f"delete {seal.name} if the change is meant"
            )
        frame = pd.read_csv(
            path,
            lineterminator="\n",  # Titles may hold a carriage return.
            keep_default_na=False,
            na_values=[""],
            dtype=dict.fromkeys(TEXT, str),
        )
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error})") from error
    return frame.fillna(dict.fromkeys(TEXT, ""))


def sha256(path: Path) -> str:
    """SHA-256 of a file, or of a folder's files with their relative names in sorted order."""
    path = Path(path)
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        digest.update(file.relative_to(path).as_posix().encode())
        digest.update(sha256(file).encode())
    return digest.hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of what lies in a folder, by name."""
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}
