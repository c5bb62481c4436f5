"""How every step runs as a command: typed options, readable logs, one message for bad input."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from jsonargparse import auto_cli
from pydantic import BaseModel, ConfigDict
from tqdm import tqdm

T = TypeVar("T")

#: Least number of seconds between two progress lines in a log file.
LOG_INTERVAL = 15.0


class InputError(ValueError):
    """Something the user gave is wrong: the message names the file, line or key, and the remedy."""


class Settings(BaseModel):
    """Base of every settings class: immutable, and an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def run(step: Callable[..., Any]) -> None:
    """Run a step function as a command: its parameters become options, its docstring the help.

    An `InputError` ends the command with exit code 1 and its message alone; any other error is a
    fault of ours and keeps its traceback.
    """
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        auto_cli(step, as_positional=False)
    except InputError as error:
        logging.getLogger(step.__module__).error("%s", error)
        sys.exit(1)


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
