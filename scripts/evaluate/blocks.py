"""Blocks: sets of recommenders that are compared on the same examples."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from scripts.cells import Cell, cell_of
from scripts.command import InputError
from scripts.files import read_table

#: Name of the block in which the baselines stand alone, on every test example.
FULL_TEST = "full test split"

#: (data set, block) -> the files of its cells, baselines first.
Blocks = dict[tuple[str, str], dict[Cell, Path]]


def blocks_of(paths: Iterable[Path]) -> Blocks:
    """Sort per-cell files, laid out as `Cell.path`, into blocks, in the order of the paths,
    `FULL_TEST` (baselines alone) last per data set.

    A backbone is evaluated on a sub-sample of its own, so each (data set, backbone) is a block,
    and the data set's baselines belong to every block of it.
    """
    cells = {cell_of(path): Path(path) for path in paths}
    blocks: Blocks = {}
    for dataset in dict.fromkeys(cell.dataset for cell in cells):
        own = {cell: path for cell, path in cells.items() if cell.dataset == dataset}
        baselines = {cell: path for cell, path in own.items() if cell.baseline}
        for backbone in dict.fromkeys(c.backbone for c in own if not c.baseline):
            llms = {cell: path for cell, path in own.items() if cell.backbone == backbone}
            blocks[dataset, backbone] = baselines | llms
        if baselines:
            blocks[dataset, FULL_TEST] = baselines
    return blocks


def read_block(
    cells: dict[Cell, Path], schema: pa.Schema, columns: list[str]
) -> dict[Cell, pd.DataFrame]:
    """Read the files of one block, each cut down to the block's examples.

    The examples are those of the block's first LLM cell, or of its first baseline where there is
    no LLM.

    Args:
        cells: one entry of `blocks_of`.
        schema: the files' contract.
        columns: what to read besides `example_id`.

    Returns:
        per cell a frame with the index `example_id`, in ascending order.

    Raises:
        InputError: a file lacks examples of the block, or an LLM has further ones.
    """
    frames = {
        cell: read_table(path, schema, ["example_id", *columns])
        .set_index("example_id")
        .sort_index(kind="stable")
        for cell, path in cells.items()
    }
    first = next((cell for cell in cells if not cell.baseline), next(iter(cells)))
    examples = frames[first].index.unique()
    for cell, frame in frames.items():
        present = frame.index.unique()
        missing = examples.difference(present)
        surplus = present.difference(examples) if not cell.baseline else examples[:0]
        if len(missing) or len(surplus):
            raise InputError(
                f"{cells[cell]}: {len(missing)} examples are missing and {len(surplus)} are "
                f"surplus compared with {cells[first]}; rerun the step that wrote the older one"
            )
        frames[cell] = frame[frame.index.isin(examples)]
    return frames


def codes(users: pd.Series) -> np.ndarray:
    """Users as integers, int64 (n,), in the order of appearance."""
    return pd.factorize(users)[0]
