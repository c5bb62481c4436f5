"""How recommendations spread over item popularity, against the users' own histories."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from scripts.analyse.blocks import blocks_of, codes, identity, read_block
from scripts.analyse.bootstrap import cluster_bootstrap, interval
from scripts.cells import cell_of
from scripts.command import InputError, run
from scripts.contracts import CUTOFFS, EXAMPLES, ITEMS, RECOMMENDATIONS
from scripts.files import read_table, write_csv

GROUPS = 5


def count_groups(rows: np.ndarray, groups: np.ndarray, examples: int) -> np.ndarray:
    """How many items of each popularity group belong to each example.

    Args:
        rows: int (m,), which example an item belongs to.
        groups: int (m,), the item's popularity group.
        examples: number of examples n.

    Returns:
        int (n, GROUPS).
    """
    cells = np.bincount(rows * GROUPS + groups, minlength=examples * GROUPS)
    return cells.reshape(examples, GROUPS)


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts as shares of the last axis' sum."""
    return counts / counts.sum(axis=-1, keepdims=True)


def distance(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Total variation distance of two distributions on the last axis: 0 equal, 1 disjoint."""
    return np.abs(first - second).sum(axis=-1) / 2


def balance(
    recommendations: list[Path],
    items: list[Path],
    tests: list[Path],
    output: Path,
    resamples: int = 2000,
    seed: int = 0,
) -> None:
    """Share of each popularity group in the top K, and its distance to the histories' shares.

    Shares count list entries: all entries of the top K of a block's examples, and all entries of
    these examples' histories (docs/paper.md §7). Lists made without the history are ignored.

    Args:
        recommendations: ranked lists of all cells, baselines included.
        items: `<dataset>/items.parquet` of every data set.
        tests: `<dataset>/examples/test.parquet` of every data set.
        output: CSV to write: dataset, block, recommender, objective, decoder, seed, k, group
            (0 rarest to 4), share, history_share, distance, low, high (95 % interval over users
            of the distance, the same on the five rows), examples, users. A K beyond the shortest
            list is absent.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.
    """
    groups = {
        path.parent.name: read_table(path, ITEMS, ["item_id", "popularity_group"])
        .set_index("item_id")["popularity_group"]
        .astype("int64")
        for path in items
    }
    test_of = {path.parent.parent.name: path for path in tests}
    rows = []
    shown = [path for path in recommendations if cell_of(path).history == "with"]
    for (dataset, block), cells in blocks_of(shown).items():
        if dataset not in groups or dataset not in test_of:
            raise InputError(f"{dataset}: give its items.parquet and its examples/test.parquet")
        group = groups[dataset]
        frames = read_block(cells, RECOMMENDATIONS, ["rank", "item_id"])
        examples = next(iter(frames.values())).index.unique()
        test = read_table(test_of[dataset], EXAMPLES, ["example_id", "user", "history"])
        test = test.set_index("example_id").reindex(examples)
        if test["user"].isna().any():
            raise InputError(
                f"{test_of[dataset]}: lacks examples of the lists of {dataset}; rerun the lists"
            )
        users = codes(test["user"])
        seen = test["history"].explode().astype("int64")
        history = count_groups(
            examples.get_indexer(seen.index), group.loc[seen].to_numpy(), len(examples)
        )
        for cell, lists in frames.items():
            depth = int(lists.groupby(level=0)["rank"].max().min())
            entry = examples.get_indexer(lists.index)
            listed = group.loc[lists["item_id"]].to_numpy()
            cutoffs = [k for k in CUTOFFS if k <= depth]
            tops = [(lists["rank"] <= k).to_numpy() for k in cutoffs]
            # One draw of users for all K and the histories: the columns come in fives.
            counts = [count_groups(entry[top], listed[top], len(examples)) for top in tops]
            drawn = cluster_bootstrap(
                np.hstack([*counts, history]).astype(float), users, resamples, seed
            ).reshape(resamples, -1, GROUPS)
            drawn_shares = shares(drawn)
            history_share = shares(history.sum(axis=0))
            name = identity(cell, block)
            del name["history"]
            for i, k in enumerate(cutoffs):
                share = shares(counts[i].sum(axis=0))
                low, high = interval(distance(drawn_shares[:, i], drawn_shares[:, -1]))
                rows += [
                    name
                    | {
                        "k": k,
                        "group": g,
                        "share": share[g],
                        "history_share": history_share[g],
                        "distance": distance(share, history_share),
                        "low": low,
                        "high": high,
                        "examples": len(examples),
                        "users": users.max() + 1,
                    }
                    for g in range(GROUPS)
                ]
    write_csv(pd.DataFrame(rows), output)


if __name__ == "__main__":
    run(balance)
