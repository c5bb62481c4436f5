"""Code of the user's own: modules in `extensions/` that the configuration names."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from scripts.fingerprint import module_file, parsed

LACKS = "{} defines no `{}`; see docs/extending.md"


def module_with(name: str) -> Any:
    """Type of a key that names a module of `extensions/` which defines `name`."""

    def check(module: str) -> str:
        file = f"extensions/{module}.py"
        if module_file(f"extensions.{module}") is None:
            raise ValueError(f"{file} is not there; see docs/extending.md")
        try:
            found = parsed(f"extensions.{module}")
        except (SyntaxError, UnicodeError) as error:
            raise ValueError(f"{file}: {error}") from error
        if name not in found.definitions | found.imports:
            raise ValueError(LACKS.format(file, name))
        return module

    return Annotated[str, Field(pattern=r"^[a-z]\w*$"), AfterValidator(check)]


def own(module: str, name: str) -> Any:
    """What a module of the user's defines under a name; ends the process if it does not."""
    found = import_module(f"extensions.{module}")
    if not hasattr(found, name):
        sys.exit(LACKS.format(f"extensions/{module}.py", name))
    return getattr(found, name)


def own_code(settings: Any, name: str) -> list[str]:
    """The user's code behind some settings, as `fingerprint` takes it; none where there is none."""
    module = getattr(settings, "module", None)
    return [f"extensions.{module}:{name}"] if module else []
