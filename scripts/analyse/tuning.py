"""What was tried on the validation split before settings of an objective were chosen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.cells import cell_of
from scripts.files import read_json
from scripts.finetune.settings import TUNED


def tuning(validations: list[Path], tuned: dict[str, str]) -> pd.DataFrame:
    """Gather the models that were tried.

    Args:
        validations: what `scripts.decode.validate` wrote, in the order in which they were tried.
        tuned: by the name of a point the objective that is tuned.

    Returns:
        dataset, backbone, decoder, objective, alpha, beta, learning_rate (null where it is the
        backbone's), value (NDCG@10), examples (of the validation split), seed, chosen (whether the
        objective takes this point).
    """
    rows = []
    for path in validations:
        record, cell = read_json(path), cell_of(path)
        given = {name: record["objective"][name] for name in TUNED}
        row = {name: getattr(cell, name) for name in ("dataset", "backbone", "decoder", "seed")}
        row |= {"objective": tuned[cell.objective], **given}
        rows.append(row | {"value": record["validation_ndcg"], "examples": record["examples"]})
    frame = pd.DataFrame(rows)
    best = frame.groupby(["dataset", "backbone", "objective"])["value"].idxmax()
    return frame.assign(chosen=frame.index.isin(best))
