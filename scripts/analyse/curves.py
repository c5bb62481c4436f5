"""The training curves of all models in one file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.cells import model_of
from scripts.files import read_csv


def curves(curves: list[Path]) -> pd.DataFrame:
    """Concatenate the training curves.

    Args:
        curves: `curves.csv` in the folder of every fine-tuned model.

    Returns:
        dataset, backbone, objective, seed, and the columns of the inputs: step, epoch, split
        (train or valid), loss (nats per token: in training what the objective minimises, in the
        validation the weighted normal loss that chooses the epoch), equal_weight_loss (the normal
        loss of the validation with equal token weights; null in training), learning_rate.
    """
    parts = [
        pd.DataFrame([model_of(path.parent)]).merge(read_csv(path), how="cross") for path in curves
    ]
    return pd.concat(parts, ignore_index=True)
