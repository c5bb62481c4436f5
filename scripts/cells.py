"""The cells of a study, and where the files of each lie.

A cell is a fine-tuned model (data set, backbone, objective, seed) with a decoder and the history
that it is shown, or a baseline (data set, name, seed).
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

#: Folder of the baselines, beside those of the backbones.
BASELINES = "baselines"
#: The objective that the others are compared with.
BASE = "plain"

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
        return self.model if self.baseline else f"{self.model}/{self.decoder}/{self.history}"


class Model(NamedTuple):
    """A fine-tuned model."""

    dataset: str
    backbone: str
    objective: str
    seed: int


def baseline_cell(dataset: str, baseline: str, seed: int) -> Cell:
    """The cell of a baseline, which always sees the history."""
    return Cell(dataset, "", "", seed, "", "with", baseline)


def cell_of(path: Path) -> Cell:
    """The cell that a file of lists or metrics belongs to, read from its path.

    Raises:
        ValueError: the path does not end in the layout of `Cell.path`.
    """
    parts = Path(path).with_suffix("").parts
    if len(parts) >= 4 and parts[-3] == BASELINES:
        dataset, _, baseline, seed = parts[-4:]
        return baseline_cell(dataset, baseline, int(seed.removeprefix("seed-")))
    if len(parts) < 6:
        raise ValueError(f"{path}: not <dataset>/<backbone>/<objective>/seed-<n>/…")
    dataset, backbone, objective, seed, decoder, history = parts[-6:]
    return Cell(dataset, backbone, objective, int(seed.removeprefix("seed-")), decoder, history)


def model_of(path: Path) -> Model:
    """The fine-tuned model of a model folder or of a per-model file, read from its path."""
    dataset, backbone, objective, seed = Path(path).parts[-4:]
    return Model(dataset, backbone, objective, int(seed.split(".")[0].removeprefix("seed-")))
