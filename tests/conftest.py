"""What holds for every test run."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

# Set before anything imports torch. The tests' models are so small that a second thread mostly
# waits for the first one, and it waits busily: on cores that have other work too, the same tests
# cost up to twenty times the CPU time. Jobs of a workflow get their number from Snakemake.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# ranx, the peer of the metrics, would compile itself for half a minute to rank a few short lists.
os.environ.setdefault("NUMBA_DISABLE_JIT", "1")

# How long an example takes says more about the machine's other work than about the code.
settings.register_profile("tests", deadline=None)
settings.register_profile("long", deadline=None, max_examples=5000)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--cuda` runs on a GPU what the tests run on a CPU, but for what they start as commands."""
    parser.addoption("--cuda", action="store_true")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything imports the function by its name."""
    if config.getoption("--cuda"):
        import torch

        from scripts import device

        device.torch_device = lambda _: torch.device("cuda")


@pytest.fixture
def any_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative gains of studies by hand, whose hits are few."""
    monkeypatch.setattr("scripts.evaluate.measure.LEAST_HITS", 1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in words and a tiny backbone with random weights."""
    from scripts.files import write_json
    from tests.small_language import SHORTCUTS, make_small_backbone, write_language_data

    folder = tmp_path_factory.mktemp("folder")
    write_language_data(folder)
    backbone = make_small_backbone(folder)
    (backbone / "backbone.json").unlink()  # Tests change copies of it.
    write_json(SHORTCUTS, backbone / "run.json")
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A copy of that folder, which a test changes."""
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> Any:
    """The tokenizer of that backbone."""
    from scripts.backbones.load import load_tokenizer

    return load_tokenizer(folder / "backbone")


#: Files that take longest: they begin first, so that the workers end at about the same time.
LONGEST = ("test_workflow.py", "test_finetune_train.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, all others as they are."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits between tries, none of which is waited."""
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    return waits
