"""The examples of a prepared data set with their histories cut at another length."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import run
from scripts.contracts import EXAMPLES, SPLITS
from scripts.data.rules import make_examples
from scripts.files import atomic, read_table, write_table


def recut(dataset: Path, max_history: int, output: Path) -> None:
    """Write what a preparation with another `max_history` would, without reading the raw files.

    A user's sequence is whole in the examples, however short their histories: the item that the
    first example has as history, then the targets.

    Args:
        dataset: Folder of a prepared data set.
        max_history: Longest history, in items.
        output: Folder to write: `catalogue.parquet`, the same as before, and
            `examples/{train,valid,test}.parquet`.
    """
    splits = {
        split: read_table(dataset / "examples" / f"{split}.parquet", EXAMPLES) for split in SPLITS
    }
    frame = pd.concat(splits.values(), ignore_index=True)
    first = frame[~frame["user"].duplicated()]
    # Every user's first item stands before all targets, which keeps each user's own order.
    users = pd.factorize(pd.concat([first["user"], frame["user"]]))[0]
    items = np.concatenate([*first["history"], frame["target"]])
    examples = make_examples(users, max_history)
    histories = np.split(items[examples.history], examples.offsets[1:-1])
    with atomic(output / "catalogue.parquet") as partial:
        shutil.copyfile(dataset / "catalogue.parquet", partial)
    begin = 0
    for split, rows in splits.items():
        cut = rows.assign(history=histories[begin : begin + len(rows)])
        write_table(cut, output / "examples" / f"{split}.parquet", EXAMPLES)
        begin += len(rows)


if __name__ == "__main__":
    run(recut)
