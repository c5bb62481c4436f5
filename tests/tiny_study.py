"""Small per-cell files written by hand, for the tests of analyses, tables and figures."""

from __future__ import annotations

from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import pandas as pd

from scripts.cells import Cell, baseline_cell
from scripts.contracts import CUTOFFS, PER_EXAMPLE, RECOMMENDATIONS, TOKEN_EFFECTS
from scripts.files import read_csv, write_table
from tests.small_data import write_catalogue, write_examples

USERS = ["ann", "ann", "bob", "cid"]


def llm(
    objective: str = "plain",
    seed: int = 0,
    history: str = "with",
    decoder: str = "grounded",
    backbone: str = "tiny",
) -> Cell:
    """A cell of the data set `toy`."""
    return Cell("toy", backbone, objective, seed, decoder, history)


def baseline(name: str) -> Cell:
    """A baseline's cell."""
    return baseline_cell("toy", name, 0)


def as_read(frame: pd.DataFrame) -> pd.DataFrame:
    """A tidy table as the next step reads it from its CSV."""
    with NamedTemporaryFile() as file:
        frame.to_csv(file.name, index=False)
        return read_csv(Path(file.name))


def prepared(root: Path) -> list[Path]:
    """What stands for the data set `toy`; the record itself need not be there."""
    return [root / "data" / "toy" / "preparation.json"]


def metrics(
    root: Path, cell: Cell, ranks: list[int | None], depth: int = 50, first: int = 0
) -> Path:
    """Per-example metrics from the target's ranks; example ids count from `first`."""
    frame = pd.DataFrame(
        {
            "example_id": np.arange(first, first + len(ranks)),
            "user": [USERS[i % len(USERS)] for i in range(first, first + len(ranks))],
            "rank": pd.array(ranks, dtype="Int32"),
        }
    )
    for k in CUTOFFS:
        hits = [rank is not None and rank <= k for rank in ranks]
        gain = [1 / np.log2(r + 1) if h else 0.0 for r, h in zip(ranks, hits, strict=True)]
        frame[f"hr@{k}"] = [float(h) for h in hits] if k <= depth else np.nan
        frame[f"ndcg@{k}"] = gain if k <= depth else np.nan
    path = root / "metrics" / f"{cell.path}.parquet"
    write_table(frame, path, PER_EXAMPLE)
    return path


def recommendations(root: Path, cell: Cell, lists: dict[int, list[int]]) -> Path:
    """Ranked lists by example id."""
    rows = [
        {"example_id": example, "rank": rank, "item_id": item, "score": -float(rank)}
        for example, items in lists.items()
        for rank, item in enumerate(items, start=1)
    ]
    path = root / "recommendations" / f"{cell.path}.parquet"
    write_table(pd.DataFrame(rows), path, RECOMMENDATIONS)
    return path


def token_effects(root: Path, cell: Cell, rows: list[tuple] | pd.DataFrame) -> Path:
    """Rows of TOKEN_EFFECTS of a cell's model."""
    path = root / f"{cell.model}.parquet"
    write_table(pd.DataFrame(rows, columns=TOKEN_EFFECTS.names), path, TOKEN_EFFECTS)
    return path


def catalogue(root: Path, groups: list[int]) -> None:
    """Items with these popularity groups."""
    n = len(groups)
    titles = [f"Title {i}" for i in range(n)]
    write_catalogue(root / "data" / "toy" / "catalogue.parquet", titles, [*range(n)], groups)


def split(root: Path, histories: list[list[int]]) -> None:
    """Test examples with these histories."""
    rows = [(USERS[i % len(USERS)], one, 0) for i, one in enumerate(histories)]
    write_examples(root / "data" / "toy" / "examples" / "test.parquet", rows)
