"""Where the files of a study lie, and which cell of the study a file belongs to.

A cell is a point on the three axes objective x decoder x history, times data set, backbone and
seed. A baseline has no objective, decoder or history: its cell holds its name alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

BASELINES = "baselines"


class Cell(NamedTuple):
    """One cell of the study. For a baseline `backbone` is "baselines" and `objective` its name."""

    dataset: str
    backbone: str
    objective: str
    seed: int
    decoder: str
    history: str

    @property
    def is_baseline(self) -> bool:
        """Whether the cell is a baseline's, which has no decoder and always sees the history."""
        return self.backbone == BASELINES


def model_path(dataset: str, backbone: str, objective: str, seed: int | str) -> str:
    """Path of a model or of a baseline's list, relative to its stage's folder."""
    return f"{dataset}/{backbone}/{objective}/seed-{seed}"


def cell_path(cell: Cell) -> str:
    """Path of a cell's file, relative to its stage's folder and without its ending."""
    model = model_path(*cell[:4])
    return model if cell.is_baseline else f"{model}/{cell.decoder}/{cell.history}"


def cell_of(path: Path) -> Cell:
    """The cell that a recommendation or metrics file belongs to, read from its path.

    Raises:
        ValueError: the path does not end in the layout of `cell_path`.
    """
    parts = Path(path).with_suffix("").parts
    if len(parts) >= 4 and parts[-3] == BASELINES:
        dataset, backbone, objective, seed = parts[-4:]
        decoder, history = "", "with"
    elif len(parts) >= 6:
        dataset, backbone, objective, seed, decoder, history = parts[-6:]
    else:
        raise ValueError(f"{path}: not <dataset>/<backbone>/<objective>/seed-<n>/…")
    return Cell(dataset, backbone, objective, int(seed.removeprefix("seed-")), decoder, history)


def model_of(path: Path) -> tuple[str, str, str, int]:
    """Data set, backbone, objective and seed of a model folder or of a per-model file."""
    path = Path(path)
    dataset, backbone, objective, seed = path.parts[-4:]
    return dataset, backbone, objective, int(seed.split(".")[0].removeprefix("seed-"))
