"""A fingerprint of the code of a step, so that a rerun follows what the code does.

Snakemake sees a change of a rule but not of the modules that its command imports. Each rule
therefore carries, as a parameter, a hash over its step's module and every local definition that
it reaches through imports, transitively; comments, docstrings and formatting are left out, and so
is what a shared module defines for others.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
#: This project's, and what users add.
PACKAGES = ("scripts", "extensions")


class Module(NamedTuple):
    """A parsed module: its top-level statements by the name that they bind.

    `definitions` holds the statements that bind a name, `always` those that bind none and run at
    every import, `imports` the local module and name (None: the module itself) behind a name.
    """

    definitions: dict[str, list[ast.stmt]]
    always: list[ast.stmt]
    imports: dict[str, tuple[str, str | None]]


def module_file(module: str) -> Path | None:
    """File of a local module, or None when the name is no module of this project."""
    if module.split(".")[0] not in PACKAGES:
        return None
    base = ROOT.joinpath(*module.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def without_docstrings(tree: ast.Module) -> ast.Module:
    """Remove the strings that stand alone: docstrings of modules, classes and attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [
                child
                for child in node.body
                if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
            ] or [ast.Pass()]
    return tree


def local_imports(node: ast.AST) -> dict[str, tuple[str, str | None]]:
    """The names that imports anywhere below `node` bind to local modules or to names in them."""
    found: dict[str, tuple[str, str | None]] = {}
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                if module_file(alias.name):
                    found[alias.asname or alias.name.split(".")[0]] = (alias.name, None)
        elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
            for alias in child.names:
                bound = alias.asname or alias.name
                if module_file(f"{child.module}.{alias.name}"):
                    found[bound] = (f"{child.module}.{alias.name}", None)
                elif module_file(child.module):
                    found[bound] = (child.module, alias.name)
    return found


@cache
def parsed(module: str) -> Module:
    """Parse a local module.

    Raises:
        ValueError: there is no such module.
    """
    file = module_file(module)
    if file is None:
        raise ValueError(f"{module} is no module of this project")
    tree = without_docstrings(ast.parse(file.read_text(encoding="utf-8"), file.name))
    definitions: dict[str, list[ast.stmt]] = {}
    always: list[ast.stmt] = []
    for statement in tree.body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                # A name of a library counts with where it comes from; local ones are followed.
                single: ast.stmt = ast.Import([alias])
                if isinstance(statement, ast.ImportFrom):
                    single = ast.ImportFrom(statement.module, [alias], statement.level)
                bound = alias.asname or alias.name.split(".")[0]
                if not local_imports(single):
                    definitions.setdefault(bound, []).append(single)
            continue
        if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names = [statement.name]
        elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
            names = [
                node.id
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
            ]
        else:
            names = []
        for name in names:
            definitions.setdefault(name, []).append(statement)
        if not names:
            always.append(statement)
    return Module(definitions, always, local_imports(tree))


@cache
def fingerprint(*modules: str) -> str:
    """Hash of the modules of a step and of all local definitions that they reach.

    Args:
        modules: their dotted names, such as `scripts.finetune.train`; with `:name` behind it, what
            the module defines under that name.

    Raises:
        ValueError: there is no such module.
    """
    seen: dict[tuple[str, str], str] = {}
    waiting: list[tuple[str, str | None]] = [
        (module, name or None) for module, _, name in (one.partition(":") for one in modules)
    ]
    while waiting:
        name, wanted = waiting.pop()
        module = parsed(name)
        # A module that is used as a whole counts as a whole; else only what is asked of it.
        wanted_names = [*module.definitions] if wanted is None else [wanted]
        parts = {"": module.always} | {n: module.definitions.get(n, []) for n in wanted_names}
        for part, statements in parts.items():
            if (name, part) in seen:
                continue
            seen[name, part] = "\n".join(ast.unparse(s) for s in statements)
            for used in {n.id for s in statements for n in ast.walk(s) if isinstance(n, ast.Name)}:
                if used in module.definitions or used in module.imports:
                    waiting.append((name, used))
        if wanted in module.imports:
            seen[name, f"import {wanted}"] = str(module.imports[wanted])
            waiting.append(module.imports[wanted])
    text = "\n".join(f"{name} {part}\n{code}" for (name, part), code in sorted(seen.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
