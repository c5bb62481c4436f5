"""A small package is edited, and the fingerprint must follow what its code does, and no more."""

import shutil
from pathlib import Path

import pytest

from scripts import fingerprint as module
from scripts.fingerprint import fingerprint, parsed

REPOSITORY = Path(__file__).parents[1]
STEP = "scripts.room.step"
FILES = {
    "room/step.py": '''"""A step."""
from __future__ import annotations

import math
from statistics import mean as average

from scripts.shared import used
from scripts.shared import SIZE as LENGTH, WIDTH as BREADTH
from scripts import whole
from scripts.shapes import Base


class Thing(Base):
    """A thing."""

    size: int = 3
    """Its size."""


def step(values: list[float], factor: float = 2.0) -> float:
    """Do the step."""
    from scripts.lazy import late

    size = LENGTH / BREADTH + whole.anything() + average(values)
    return late(used(values)) * factor + math.pi + size


if __name__ == "__main__":
    step([1.0])
''',
    "shared.py": '''"""Shared."""
import os
from scripts.deep import deeper

SIZE = 4
WIDTH = 6
UNUSED_SIZE = 5


def used(values):
    """Used."""
    return deeper(sum(values))


def unused(values):
    return os.getcwd()
''',
    "deep.py": """LIMIT = 7

def deeper(value):
    return min(value, LIMIT)

def not_reached(value):
    return value
""",
    "whole.py": """def anything():
    return 1

def something():
    return 2
""",
    "shapes.py": """class Base:
    colour = "red"

    def paint(self):
        return self.colour

class Other:
    pass
""",
    "lazy.py": """from scripts.shared import SIZE

def late(value):
    return value - 1
""",
    "stranger.py": "X = 1\n",
}


@pytest.fixture
def package(tmp_path, monkeypatch):
    root = tmp_path / "scripts"
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    yield root
    forget()


def forget():
    parsed.cache_clear()
    fingerprint.cache_clear()


def now(step=STEP):
    forget()
    return fingerprint(step)


def edit(file, old, new):
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("room/step.py", '"""A step."""', "# No docstring, but a comment."),
        ("room/step.py", '"""Do the step."""', '"""Do it, with pleasure."""'),
        ("room/step.py", '    """A thing."""\n\n', ""),
        ("room/step.py", '    """Its size."""\n', ""),
        ("room/step.py", "(values: list[float],", "(  # Numbers.\n    values: list[float],\n   "),
        ("room/step.py", "import math\n", "\n\nimport  math\n"),
        ("shared.py", '    """Used."""\n', "\n\n"),
        ("shared.py", "return os.getcwd()", "return os.sep"),
        ("shared.py", "UNUSED_SIZE = 5", "UNUSED_SIZE = 6"),
        ("deep.py", "return value\n", "return 2 * value\n"),
        ("shapes.py", "    pass", "    size = 1"),
        ("stranger.py", "X = 1", "X = 2"),
    ],
)
def test_what_changes_nothing(package, file, old, new):
    before = now()
    edit(package / file, old, new)
    assert now() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("room/step.py", "factor: float = 2.0", "factor: float = 3.0"),
        ("room/step.py", "size: int = 3", "size: int = 4"),
        ("room/step.py", "+ math.pi", "- math.pi"),
        ("room/step.py", "import mean as average", "import median as average"),
        ("room/step.py", "SIZE as LENGTH", "UNUSED_SIZE as LENGTH"),
        ("room/step.py", "SIZE as LENGTH, WIDTH as B", "WIDTH as LENGTH, SIZE as B"),
        ("shared.py", "deeper(sum(values))", "deeper(max(values))"),
        ("shared.py", "SIZE = 4\nW", "SIZE = 9\nW"),
        ("shared.py", "import os\n", "import os\nos.environ['A'] = 'b'\n"),
        ("deep.py", "LIMIT = 7", "LIMIT = 8"),
        ("deep.py", "min(value, LIMIT)", "max(value, LIMIT)"),
        ("whole.py", "return 1", "return 3"),
        ("whole.py", "return 2", "return 3"),
        ("shapes.py", '"red"', '"blue"'),
        ("lazy.py", "value - 1", "value - 2"),
    ],
)
def test_what_changes_the_fingerprint(package, file, old, new):
    before = now()
    edit(package / file, old, new)
    assert now() != before


def test_a_name_counts_for_itself_alone(package):
    before = now("scripts.shared:used")
    edit(package / "shared.py", "return os.getcwd()", "return os.sep")
    assert now("scripts.shared:used") == before
    edit(package / "deep.py", "LIMIT = 7", "LIMIT = 8")
    assert now("scripts.shared:used") != before


def test_unknown_module(package):
    with pytest.raises(ValueError, match=r"scripts\.nothing is no module"):
        fingerprint("scripts.nothing")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    shutil.copytree(
        REPOSITORY / "scripts", tmp_path / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    yield tmp_path / "scripts"
    forget()


STEPS = [
    *("backbones.scratch", "baselines.sequential", "data.prepare", "decode.recommend"),
    *("evaluate.per_example", "decode.token_effects", "finetune.train"),
]
PROMPTED = {"backbones.scratch", "decode.recommend", "decode.token_effects", "finetune.train"}


def of_steps():
    """The fingerprints of all steps; a module that several reach is parsed once."""
    forget()
    return {step: fingerprint(f"scripts.{step}") for step in STEPS}


def test_the_real_steps(copy):
    before = of_steps()
    for file, old, new, changed in (
        ("finetune/objective.py", "normal + alpha *", "normal - alpha *", {"finetune.train"}),
        ("prompts.py", '= "### Response:', '= "### Answer:', PROMPTED),
        ("decode/constrained.py", "np.argsort(-total", "np.argsort(total", {"decode.recommend"}),
    ):
        edit(copy / file, old, new)
        after = of_steps()
        assert {step for step in STEPS if after[step] != before[step]} == changed, file
        before = after
