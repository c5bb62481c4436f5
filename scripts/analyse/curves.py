"""The training curves of all models in one file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.cells import model_of
from scripts.command import run
from scripts.files import read_csv, write_csv


def curves(curves: list[Path], output: Path) -> None:
    """Concatenate the training curves.

    Args:
        curves: `curves.csv` in the folder of every fine-tuned model.
        output: CSV to write: dataset, backbone, objective, seed, and the columns of the inputs
            (step, epoch, split, loss, learning_rate).
    """
    parts = []
    for path in curves:
        names = ("dataset", "backbone", "objective", "seed")
        identity = pd.DataFrame([model_of(path.parent)], columns=names)
        parts.append(identity.merge(read_csv(path), how="cross"))
    write_csv(pd.concat(parts, ignore_index=True), output)


if __name__ == "__main__":
    run(curves)
