"""How every step runs as a command: typed options, readable logs, one message for bad input."""

from __future__ import annotations

import errno
import gc
import inspect
import json
import logging
import os
import re
import reprlib
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar, get_type_hints

import docstring_parser
from filelock import FileLock, Timeout
from jsonargparse import ArgumentParser
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator, validate_call
from tqdm import tqdm

from scripts.extensions import own

T = TypeVar("T")
#: numpy and torch take no larger one.
Seed = Annotated[int, Field(ge=0, lt=1 << 32)]
#: A package and its exact version; pip would take a leading `-` for an option.
REQUIREMENT = r"^[A-Za-z0-9][A-Za-z0-9_.-]*==[A-Za-z0-9.]+$"
#: Faults of the machine, and the remedy.
FAULTS = {
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some of your quota of the disk",
    errno.EROFS: "choose a folder that can be written",
    errno.EACCES: "give yourself the permission",
}

#: What lists are given as words of.
WORDS = (Path, str, int, float)

#: Least number of seconds between two progress lines in a log file.
LOG_INTERVAL = 15.0

#: Types of which a number is one.
_NUMERIC = re.compile(r"\b(int|float)\b")


class InputError(ValueError):
    """Something the user gave is wrong: the message names the file, line or key, and the remedy."""


class Settings(BaseModel):
    """Base of every settings class: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    @model_validator(mode="before")
    @classmethod
    def _truth_is_no_number(cls, given: Any) -> Any:
        """Refuse yes, no, on, off, true and false where a number belongs: they would be 1 and 0."""
        for name, value in given.items() if isinstance(given, dict) else ():
            values = value if isinstance(value, list) else [value]
            kind = str(cls.model_fields[name].annotation) if name in cls.model_fields else ""
            if any(one is True or one is False for one in values) and _NUMERIC.search(kind):
                raise ValueError(f"{name}: found {value!r}; give a number")
        return given

    @model_validator(mode="after")
    def _whole_numbers_fit(self) -> Self:
        """Refuse whole numbers beyond any count, which no array can hold."""
        for name, value in self:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, int) and one >= 1 << 63:
                    raise ValueError(f"{name}: found {reprlib.repr(one)}; give a smaller number")
        return self


def run(
    step: Callable[..., Any],
    write: Callable[[Any, Path], None] | None = None,
    words: Sequence[str] | None = None,
    exclusive: bool = False,
) -> None:
    """Run a step function as a command: its parameters become options, its docstring the help.

    A list is given as words, `--metrics a.parquet b.parquet`, as one argument of a command cannot
    hold thousands of files. An `InputError` ends the command with exit code 1 and its message
    alone; any other error is a fault of ours and keeps its traceback.

    Args:
        step: the function.
        write: writes what the step returns to the option `output`, where the step has none itself.
        words: the command line; that of this process by default.
        exclusive: whether one process at a time may make the option `output`, see `alone`.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    # From here on, see `scripts/__init__.py`.
    gc.freeze()
    gc.set_threshold(700, 10, 10)
    parser = parser_of(step)
    if write is not None:
        parser.add_argument("--output", type=Path, required=True, help="File to write.")
    given = parser.instantiate(parser.parse_args(words)).as_dict()
    # Of the processes of a run the first one writes.
    held = alone(given["output"]) if exclusive and os.getenv("RANK", "0") == "0" else nullcontext()
    try:
        with held:
            if write is None:
                step(**given)
            else:
                output = given.pop("output")
                write(step(**given), output)
    except Exception as error:
        message = told(error)
        if message is None:
            raise
        logging.getLogger(step.__module__).error("%s", message)
        sys.exit(1)


def told(error: Exception) -> str | None:
    """What a user is told of an error, with its remedy; None where it is a fault of ours."""
    text = str(error)
    if isinstance(error, InputError):
        return text
    # Of a full disk Rust's libraries, torch and numpy give no number that can be asked for.
    number = re.search(r"\(os error (\d+)\)", text)
    code = int(number[1]) if number else getattr(error, "errno", None)
    if re.search(
        r"inline_container.cc:\d+\] \. unexpected pos|\d+ requested and \d+ written", text
    ):
        code = errno.ENOSPC
    if code in FAULTS:
        return f"{text}; {FAULTS[code]}, and run again: no half-written file counts"
    full = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if full or "DefaultCPUAllocator: can't allocate memory" in text:
        return (
            f"out of memory ({text}); lower the training's `micro_batch_size` or the decoder's "
            "`batch_size`, or take a machine with more, and run again"
        )
    return None


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Be the only process that makes `path`: while another does, say which, and wait.

    A step outlives a Snakemake that is killed, and the next one starts it again. The lock ends with
    its process, however that ends.

    Raises:
        InputError: another makes it, and this is one of several processes, which do not wait long
            for each other.
    """
    file = path.with_name(f".{path.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        holder = ""
        with suppress(FileNotFoundError):  # It may just have ended.
            holder = " of ".join(file.read_text(encoding="utf-8").split())
        if "RANK" in os.environ:
            raise InputError(
                f"{path}: process {holder} is making it already; let it end, and run again"
            ) from error
        logging.getLogger(__name__).warning(
            "%s: waiting for process %s, which is making it already", path, holder
        )
        lock.acquire()
    try:
        # As the lock itself does where a file system has no locks.
        file.write_text(f"{os.getpid()}\n{socket.gethostname()}\n", encoding="utf-8")
        yield
    finally:
        file.unlink(missing_ok=True)
        lock.release()


def step_of(room: str, words: Sequence[str]) -> Callable[..., Any]:
    """The function of the module of a room that the first word of a command line names.

    Both have the same name. In a module of the user's the function has that of what it makes, such
    as `table`.
    """
    name = "".join(words[:1])
    if name and find_spec(f"{room}.{name}"):
        return getattr(import_module(f"{room}.{name}"), name)
    if name and find_spec(f"extensions.{name}"):
        return own(name, room.split(".")[1].removesuffix("s"))
    folder = room.replace(".", "/")
    sys.exit(f"usage: python -m {room} <name> --help, with the name of a module in {folder}")


def call(function: Callable[..., T], **options: Any) -> T:
    """Call a function with options from JSON, each checked and made what its parameter says.

    Raises:
        InputError: an option is missing, unknown or wrong.
    """
    checked = validate_call(config=ConfigDict(arbitrary_types_allowed=True))(function)
    try:
        return checked(**options)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise InputError(f"{function.__name__}: {'; '.join(faults)}") from error


def _mapping(given: str | dict[str, Any]) -> dict[str, Any]:
    """What JSON says; jsonargparse asks again with what it got.

    Raises:
        ValueError: it is no JSON, or holds no keys.
    """
    keys = json.loads(given) if isinstance(given, str) else given
    if not isinstance(keys, dict):
        raise ValueError("holds no keys")
    return keys


def parser_of(step: Callable[..., Any]) -> ArgumentParser:
    """The parser of a step's options."""
    documented = docstring_parser.parse(step.__doc__ or "")
    # JSON, as YAML would read two characters where JSON writes an emoji as `\ud83d\ude00`.
    parser = ArgumentParser(description=documented.short_description, parser_mode="json")
    own: dict[str, dict[str, Any]] = {}
    for name, kind in get_type_hints(step, include_extras=True).items():
        # jsonargparse takes a list as JSON, in a time that grows with the square of its length.
        for word in WORDS:
            if kind in (list[word], list[word] | None):
                own[name] = {"nargs": "*", "type": word}
        # It reads a text within once more: the study "1e5" would be a number.
        if kind in (dict[str, Any], dict[str, Any] | None):
            own[name] = {"type": _mapping}
        # It drops the bounds of an annotation that is text.
        if kind == Seed:
            own[name] = {"type": kind}
        # `--name` alone is a yes.
        if kind is bool:
            own[name] = {"type": bool, "nargs": "?", "const": True}
    parser.add_function_arguments(step, skip=set(own))
    about = {parameter.arg_name: parameter.description for parameter in documented.params}
    for name, how in own.items():
        default = inspect.signature(step).parameters[name].default
        how |= {"required": True} if default is inspect.Parameter.empty else {"default": default}
        parser.add_argument(f"--{name}", **how, help=about.get(name))
    return parser


def progress(items: Iterable[T], what: str, total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar on a terminal and now and then a plain line in a log file."""
    terminal = sys.stderr.isatty()
    return iter(
        tqdm(
            items,
            desc=what,
            total=total,
            mininterval=0.2 if terminal else LOG_INTERVAL,
            maxinterval=10.0 if terminal else LOG_INTERVAL,
            ascii=not terminal,
            dynamic_ncols=terminal,
        )
    )
