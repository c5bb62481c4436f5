"""The floors of docs/architecture.md hold: what each room imports, and that no circle is there."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

#: Rooms by floor, from the bottom, as the page's table has them.
FLOORS = {
    **dict.fromkeys(["data"], 1),
    **dict.fromkeys(["backbones", "baselines", "finetune"], 2),
    **dict.fromkeys(["decode"], 3),
    **dict.fromkeys(["evaluate"], 4),
    **dict.fromkeys(["analyse"], 5),
    **dict.fromkeys(["tables", "figures", "report", "compare", "push", "recommend"], 6),
}
#: Rooms that are one module.
MODULES_ALONE = {"report", "compare", "push", "recommend"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "scripts").rglob("*.py"))
    if path.name != "__init__.py"
}


def room_of(module: str) -> str:
    """The room of a module; "" for the tools directly in scripts/."""
    parts = module.split(".")
    return parts[1] if len(parts) > 2 or parts[1] in MODULES_ALONE else ""


def imports(path: Path) -> set[str]:
    """The modules of this project that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                both = (f"{node.module}.{alias.name}", node.module)
                found |= {next((name for name in both if name in MODULES), "")}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_from_a_floor_above(module: str) -> None:
    room = room_of(module)
    for other in imports(MODULES[module]):
        above = room_of(other)
        if other.endswith(".settings") or above in ("", room):
            continue
        if above == "study":
            assert room == "report", f"{module} imports {other}"
        elif room == "study":
            assert above in ("data", "baselines"), f"{module} imports {other}"
        else:
            # The tools are the ground: they import no room.
            assert room, f"{module} imports {other}"
            assert FLOORS[above] <= FLOORS[room], f"{module} imports {other}"


def test_imports_make_no_circle() -> None:
    TopologicalSorter({name: imports(path) - {name} for name, path in MODULES.items()}).prepare()


def test_the_page_names_every_room_once() -> None:
    table = PAGE.split("## Six floors")[1].split("Beside the floors")[0]
    named = re.findall(r"^\| [^|]*\| ((?:`[\w.]+`(?:, )?)+) \|", table, re.MULTILINE)
    rooms = [name.removesuffix(".py") for cell in named for name in re.findall(r"`([\w.]+)`", cell)]
    assert sorted(rooms) == sorted(FLOORS)
    folders = {path.parent.name for path in (ROOT / "scripts").glob("*/__init__.py")}
    assert folders == {*FLOORS, "study"} - MODULES_ALONE


def test_the_page_is_short_and_has_one_diagram_of_eight_stages() -> None:
    assert len(PAGE.splitlines()) <= 80
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", PAGE, re.DOTALL)
    assert len(set(re.findall(r"\b[a-z]+\b(?=\s*(?:-->|\[|\||$))", diagram, re.MULTILINE))) == 8
