"""Ranked lists that another program made, read from a file."""

from __future__ import annotations

import csv
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa

from scripts.baselines.lists import standing_items
from scripts.command import InputError, run
from scripts.contracts import CATALOGUE, RECOMMENDATIONS
from scripts.data.prepared import named_examples
from scripts.files import read_table, write_table

COLUMNS = ["example", "item", "score"]
#: Columns of a TREC run. Ranks are not read: the score decides, as in trec_eval.
TREC = ["example", "Q0", "item", "rank", "score", "tag"]
#: How many names a message gives.
SHOWN = 3


def read_lists(path: Path) -> pd.DataFrame:
    """The rows of a file of ranked lists, of the format that its suffix says.

    Returns:
        example and item, text; score, float64, NaN where there is no number.

    Raises:
        InputError: the file cannot be read, or has other columns.
    """
    text = {"dtype": str, "keep_default_na": False}
    columns = COLUMNS if path.suffix in (".csv", ".parquet") else TREC
    try:
        if path.suffix == ".parquet":
            rows = pd.read_parquet(path, columns=COLUMNS)
        elif path.suffix == ".csv":
            rows = pd.read_csv(path, usecols=COLUMNS, **text)
        else:
            rows = pd.read_csv(path, sep=r"\s+", header=None, quoting=csv.QUOTE_NONE, **text)
            rows = rows.set_axis(columns, axis=1)[COLUMNS]
            rows[["example", "item"]] = rows[["example", "item"]].map(unquote)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: cannot be read as ranked lists with columns {', '.join(columns)} ({error})"
        ) from error
    rows = rows.astype({"example": str, "item": str})
    return rows.assign(score=pd.to_numeric(rows["score"], errors="coerce").astype(float))


def recommend(lists: Path, dataset: Path, output: Path, depth: int = 50) -> None:
    """Take another program's lists of all test examples as RECOMMENDATIONS.

    An item becomes the one that stands for its title, and a title keeps its best place, as in all
    lists here. Of equal scores, the one that comes first in the file comes first. A list may be
    shorter than `depth`; what lies beyond is left out.

    Args:
        lists: a TREC run (any other suffix), or `.csv` or `.parquet` with the columns example, item
            and score. Examples have the names of the exported splits, items the source's ids.
        dataset: folder of the prepared data set.
        output: recommendations to write.
        depth: longest list.

    Raises:
        InputError: the file cannot be read; a score is no number; an example or an item is unknown
            or a test example has no list; an item is listed twice for an example.
    """
    rows = read_lists(lists)
    items = read_table(dataset / "catalogue.parquet", CATALOGUE)
    examples = named_examples(dataset, ["example_id"])
    test = examples[examples["split"] == "test"].set_index("example")["example_id"]
    example = test.index.get_indexer(rows["example"])
    item = pd.Index(items["item"]).get_indexer(rows["item"])
    pairs = rows["example"] + ", " + rows["item"]
    twice = rows.duplicated(["example", "item"])
    faults = {
        "scores that are no numbers": (pairs[rows["score"].isna()], "give one for each item"),
        "examples that the test split lacks": (
            rows["example"][example < 0],
            "name them as the exported test split does",
        ),
        f"test examples without a list, of {len(test)}": (
            test.index[~np.isin(np.arange(len(test)), example)],
            "rank items for all of them",
        ),
        "items that the catalogue lacks": (rows["item"][item < 0], "give the source's ids"),
        "items that stand twice in a list": (pairs[twice], "name each once"),
    }
    for fault, (names, remedy) in faults.items():
        if len(names := names.unique()):
            first = ", ".join(f"'{name}'" for name in names[:SHOWN])
            raise InputError(f"{lists}: {fault}: {len(names)}; the first: {first}; {remedy}")

    frame = pd.DataFrame(
        {
            "example_id": test.to_numpy()[example],
            "item_id": standing_items(items)[item],
            "score": rows["score"],
        }
    )
    frame = frame.iloc[np.lexsort((-frame["score"], frame["example_id"]))]
    frame = frame.drop_duplicates(["example_id", "item_id"])
    frame["rank"] = frame.groupby("example_id").cumcount() + 1
    write_table(frame[frame["rank"] <= depth], output, RECOMMENDATIONS)


if __name__ == "__main__":
    run(recommend)
