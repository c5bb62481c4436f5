"""Code of the user's own: modules in `extensions/` that the configuration names."""

from __future__ import annotations

from importlib import import_module
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from scripts.fingerprint import parsed


def module_with(name: str) -> Any:
    """Type of a key that names a module of `extensions/` which defines `name`."""

    def check(module: str) -> str:
        file = f"extensions/{module}.py"
        try:
            found = parsed(f"extensions.{module}")
        except SyntaxError as error:
            raise ValueError(f"{file}:{error.lineno}: {error.msg}") from error
        except ValueError as error:
            raise ValueError(f"{file} is not there; see docs/extending.md") from error
        if name not in found.definitions | found.imports:
            raise ValueError(f"{file} defines no `{name}`; see docs/extending.md")
        return module

    return Annotated[str, Field(pattern=r"^[a-z]\w*$"), AfterValidator(check)]


def own(module: str, name: str) -> Any:
    """What a module of the user's defines under a name."""
    return getattr(import_module(f"extensions.{module}"), name)


def own_code(settings: Any, name: str) -> list[str]:
    """The user's code behind some settings, as `fingerprint` takes it; none where there is none."""
    module = getattr(settings, "module", None)
    return [f"extensions.{module}:{name}"] if module else []
