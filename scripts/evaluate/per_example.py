"""Metrics of every example of a recommender's lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.command import InputError, run
from scripts.contracts import CATALOGUE, CUTOFFS, PER_EXAMPLE, RECOMMENDATIONS
from scripts.examples import read_examples
from scripts.files import read_table, write_table
from scripts.metrics import at_cutoffs


def _check_lists(lists: pd.DataFrame, items: pd.Index, path: Path) -> None:
    """Check sorted lists.

    Raises:
        InputError: there is none, ranks are not 1..n, an item is unknown or listed twice.
    """
    if lists.empty:
        raise InputError(f"{path}: holds no lists; rerun the recommender that wrote it")
    expected = lists.groupby("example_id").cumcount() + 1
    faults = {
        "ranks are not 1, 2, 3, … without gap or repeat": lists["rank"] != expected,
        "the catalogue has no such item": ~lists["item_id"].isin(items),
        "the item is listed twice": (
            lists["example_id"].astype(int) * 2**32 + lists["item_id"]
        ).duplicated(),
    }
    for fault, rows in faults.items():
        if rows.any():
            row = lists[rows].iloc[0]
            raise InputError(
                f"{path}: example_id {row['example_id']:.0f}, rank {row['rank']:.0f}, "
                f"item_id {row['item_id']:.0f}: {fault}; rerun the recommender that wrote it"
            )


def evaluate(
    recommendations: list[Path], examples: Path, catalogue: Path, output: list[Path]
) -> None:
    """Write the rank of the target, the hits and the gains of every example that has a list.

    Items with the same title are one target: the best rank of them counts (docs/paper.md §3).
    A K beyond the shortest list is null, unless the lists hold every title of the catalogue.
    Starting takes longer than measuring, so that one run serves all lists of a model.

    Args:
        recommendations: files of ranked lists, of all examples or of a sub-sample.
        examples: the examples with their targets.
        catalogue: the data set's catalogue.
        output: file of the per-example metrics for each of `recommendations`.

    Raises:
        InputError: a list or an example has a fault, or there are more files of one than the other.
    """
    if len(output) != len(recommendations):
        raise InputError("--output: name one file for each of --recommendations")
    items = read_table(catalogue, CATALOGUE, ["item_id", "title"]).set_index("item_id")
    title = pd.Series(pd.factorize(items["title"])[0], index=items.index)
    known = read_examples(examples, len(items)).set_index("example_id")[["user", "target"]]
    for path, measures in zip(recommendations, output, strict=True):
        lists = read_table(path, RECOMMENDATIONS, ["example_id", "rank", "item_id"])
        lists = lists.sort_values(["example_id", "rank"], kind="stable", ignore_index=True)
        _check_lists(lists, items.index, path)
        if missing := list(pd.Index(lists["example_id"].unique()).difference(known.index)[:1]):
            raise InputError(
                f"{path}: example_id {missing[0]} is not in {examples}; "
                "evaluate the lists against the split that they were made for"
            )
        write_table(measured(lists, known, title), measures, PER_EXAMPLE)


def measured(lists: pd.DataFrame, known: pd.DataFrame, title: pd.Series) -> pd.DataFrame:
    """PER_EXAMPLE rows of lists, RECOMMENDATIONS rows in their order; `known` are user and target
    by `example_id`, `title` is a number of the title by `item_id`."""
    lengths = lists.groupby("example_id").size()
    known = known.loc[lengths.index]
    listed = title.loc[lists["item_id"]].to_numpy()
    wanted = np.repeat(title.loc[known["target"]].to_numpy(), lengths)
    rank = lists[listed == wanted].groupby("example_id")["rank"].min().reindex(lengths.index)

    depth: float = lengths.min()
    if depth >= title.nunique():
        titles = lists.assign(title=listed).drop_duplicates(["example_id", "title"])
        if titles.groupby("example_id").size().min() == title.nunique():
            depth = np.inf
    return pd.DataFrame(
        {"example_id": lengths.index, "user": known["user"].to_numpy()}
        | {"rank": rank.astype("Int32").array}
        | at_cutoffs(rank.to_numpy(float), CUTOFFS, depth)
    )


if __name__ == "__main__":
    run(evaluate)
