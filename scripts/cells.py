"""The cells of a study, and where the files of each lie.

A cell is a fine-tuned model (data set, backbone, objective, seed) with a decoder and the history
that it is shown, or a baseline (data set, name, seed).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from scripts.command import InputError

#: Folder of the baselines, beside those of the backbones.
BASELINES = "baselines"
#: The objective that the others are compared with.
BASE = "plain"

#: What is wrong with a path that names no cell.
NO_CELL = "is not where a study writes it, at <dataset>/<backbone>/<objective>/seed-<n>"

#: What stands for a data set where the mean over those of the headline is meant.
ALL = "mean of the headline"


class Cell(NamedTuple):
    """One cell. A baseline has its name alone: no backbone, objective or decoder."""

    dataset: str
    backbone: str
    objective: str
    seed: int
    decoder: str
    history: str
    baseline: str = ""

    @property
    def model(self) -> str:
        """Path of its model, relative to a folder of the results and without an ending."""
        folders = (BASELINES, self.baseline) if self.baseline else (self.backbone, self.objective)
        return "/".join([self.dataset, *folders, f"seed-{self.seed}"])

    @property
    def path(self) -> str:
        """Path of its lists or metrics, likewise."""
        if self.baseline:
            return self.model if self.history == "with" else f"{self.model}/{self.history}"
        return f"{self.model}/{self.decoder}/{self.history}"


class Model(NamedTuple):
    """A fine-tuned model."""

    dataset: str
    backbone: str
    objective: str
    seed: int


def baseline_cell(dataset: str, baseline: str, seed: int, history: str = "with") -> Cell:
    """The cell of a baseline."""
    return Cell(dataset, "", "", seed, "", history, baseline)


def cell_of(path: Path) -> Cell:
    """The cell that a file of lists or metrics belongs to, read from its path.

    Raises:
        InputError: the path does not end in the layout of `Cell.path`.
    """
    try:
        parts = Path(path).with_suffix("").parts
        if BASELINES in parts[-4:-2]:
            place = parts.index(BASELINES, len(parts) - 4)
            dataset, _, baseline, seed, *history = parts[place - 1 :]
            return baseline_cell(dataset, baseline, int(seed.removeprefix("seed-")), *history)
        dataset, backbone, objective, seed, decoder, history = parts[-6:]
        number = int(seed.removeprefix("seed-"))
        return Cell(dataset, backbone, objective, number, decoder, history)
    except ValueError as error:
        raise InputError(f"{path}: {NO_CELL}/<decoder>/<history>") from error


def model_of(path: Path) -> Model:
    """The fine-tuned model of a model folder or of a per-model file, read from its path.

    Raises:
        InputError: the path does not end in the layout of `Cell.model`.
    """
    try:
        dataset, backbone, objective, seed = Path(path).parts[-4:]
        number = int(seed.split(".")[0].removeprefix("seed-"))
        return Model(dataset, backbone, objective, number)
    except ValueError as error:
        raise InputError(f"{path}: {NO_CELL}") from error
