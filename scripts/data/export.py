"""A prepared data set in the formats of other programs: D3's published splits, and RecBole."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Literal

import pandas as pd

from scripts.command import progress, run
from scripts.contracts import CATALOGUE, INTERACTIONS
from scripts.data.prepared import as_words, named_examples
from scripts.files import atomic, read_table, write_text

HEADER = [
    "user_id",
    "item_asins",
    "item_asin",
    "history_item_id",
    "item_id",
    "history_item_title",
    "item_title",
    "history_rating",
    "rating",
    "history_timestamp",
    "timestamp",
]


def export_d3(dataset: Path, output: Path) -> None:
    """Write `train.csv`, `valid.csv` and `test.csv` in D3's 11 columns, and `info.txt` with title
    and item id of every item.

    Lists are written as Python writes them; a missing rating is None in a list and empty outside.
    Item ids are ours, in the order of the source ids; D3's follow its raw files.
    """
    items = read_table(dataset / "catalogue.parquet", CATALOGUE)
    source, titles = items["item"].tolist(), items["title"].tolist()
    interactions = read_table(dataset / "interactions.parquet", INTERACTIONS)
    ratings = [None if math.isnan(rating) else rating for rating in interactions["rating"].tolist()]
    times = interactions["timestamp"].tolist()
    rows_of = interactions.groupby("user", sort=False).indices
    for split, examples in named_examples(dataset, ["history", "target"]).groupby("split"):
        with (
            atomic(output / f"{split}.csv") as partial,
            partial.open("w", encoding="utf-8", newline="") as stream,
        ):
            writer = csv.writer(stream)
            writer.writerow(HEADER)
            rows = examples.itertuples(index=False)
            for example in progress(rows, f"writing {split}.csv", len(examples)):
                history, target = example.history.tolist(), example.target
                first = example.place - len(history) - 1
                own = rows_of[example.user][first : example.place].tolist()
                writer.writerow(
                    [
                        example.user,
                        [source[item] for item in history],
                        source[target],
                        history,
                        target,
                        [titles[item] for item in history],
                        titles[target],
                        [ratings[row] for row in own[:-1]],
                        ratings[own[-1]],
                        [times[row] for row in own[:-1]],
                        times[own[-1]],
                    ]
                )
    lines = zip(titles, items["item_id"], strict=True)
    write_text("".join(f"{title}\t{item}\n" for title, item in lines), output / "info.txt")


def export_recbole(dataset: Path, output: Path) -> None:
    """Write a data set's splits as RecBole's atomic files, which it takes by
    `benchmark_filename: [train, valid, test]` and `alias_of_item_id: [item_id_list]`.

    Ids are the source's, as `as_words` writes them. The column `example` names the examples for
    ranked lists that come back. The name of the folder is the data set's for RecBole: it gets
    `<name>.train.inter`, `<name>.valid.inter`, `<name>.test.inter` and `<name>.item`.
    """
    items = read_table(dataset / "catalogue.parquet", CATALOGUE)
    words = as_words(items["item"]).to_numpy()
    files = {"item": {"item_id:token": words, "title:token_seq": items["title"]}}
    examples = named_examples(dataset, ["history", "target", "timestamp"])
    for split, rows in examples.groupby("split"):
        files[f"{split}.inter"] = {
            "user_id:token": as_words(rows["user"]),
            "item_id_list:token_seq": [" ".join(words[history]) for history in rows["history"]],
            "item_id:token": words[rows["target"]],
            "timestamp:float": rows["timestamp"],
            "example:token": as_words(rows["example"]),
        }
    for ending, columns in files.items():
        text = pd.DataFrame(columns).to_csv(sep="\t", index=False, lineterminator="\n")
        write_text(text, output / f"{output.name}.{ending}")


def export(dataset: Path, output: Path, layout: Literal["d3", "recbole"] = "d3") -> None:
    """Write a data set's splits for another program.

    Args:
        dataset: Folder of a prepared data set.
        output: Folder to write.
        layout: D3's CSV files, or RecBole's atomic files.
    """
    (export_d3 if layout == "d3" else export_recbole)(dataset, output)


if __name__ == "__main__":
    run(export)
