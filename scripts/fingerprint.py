"""A fingerprint of the code of a step, so that a rerun follows what the code does.

Snakemake sees a change of a rule but not of the modules that its command imports. Each rule
therefore carries, as a parameter, a hash over its step's module and every local module that it
imports, transitively; comments, docstrings and formatting are left out.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "scripts"
#: Modules that only carry a step to the command line or to the disk: they cannot change a result.
PLUMBING = frozenset({f"{PACKAGE}.command", f"{PACKAGE}.files"})


def module_file(module: str) -> Path | None:
    """File of a local module, or None when the name is no module of this project."""
    base = ROOT.joinpath(*module.split("."))
    for file in (base.with_suffix(".py"), base / "__init__.py"):
        if file.is_file():
            return file
    return None


def normalised(source: str) -> str:
    """The syntax tree of Python source as text, without docstrings and positions."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        # Strings standing alone are docstrings of modules, functions, classes and attributes.
        kept = [
            child
            for child in node.body
            if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant))
        ]
        node.body = kept or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False)


def local_imports(source: str) -> set[str]:
    """Names of the project's modules that Python source imports, wherever the import stands."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import name` may import a module or a name inside one.
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {
        name
        for name in names
        if name.split(".")[0] == PACKAGE and name not in PLUMBING and module_file(name)
    }


@cache
def fingerprint(module: str) -> str:
    """Hash of a module and of all local modules that it imports, transitively.

    Args:
        module: dotted name, such as `scripts.finetune.train`.

    Raises:
        ValueError: there is no such module.
    """
    seen: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        file = module_file(name)
        if file is None:
            raise ValueError(f"{name} is no module of this project")
        source = file.read_text(encoding="utf-8")
        seen[name] = normalised(source)
        waiting += local_imports(source)
    text = "\n".join(f"{name}\n{seen[name]}" for name in sorted(seen))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
