"""Ranked lists as a TREC run with its qrels, for trec_eval, ranx and programs alike."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scripts.baselines.lists import standing_items
from scripts.command import run
from scripts.contracts import CATALOGUE, RECOMMENDATIONS
from scripts.data.prepared import as_words, named_examples
from scripts.files import atomic, read_table


def export(recommendations: Path, dataset: Path, tag: str, output: Path) -> None:
    """Write a recommender's lists as a TREC run, and beside it its qrels.

    Examples and items have the names of `named_examples` and the source. A qrels file holds the
    examples of its run alone, each with one item: that which stands for the target's title in our
    lists (`standing_items`). So HR@K and NDCG@K of the two are those of our metrics.

    Args:
        recommendations: ranked lists, of all test examples or of a sub-sample.
        dataset: folder of the prepared data set.
        tag: name of the run in its last column, without blanks.
        output: the run to write, as `<name>.run`; the qrels are `<name>.qrels`.
    """
    items = read_table(dataset / "catalogue.parquet", CATALOGUE)
    words = as_words(items["item"]).to_numpy()
    examples = named_examples(dataset, ["example_id", "target"]).set_index("example_id")
    lists = read_table(recommendations, RECOMMENDATIONS)
    lists = lists.sort_values(["example_id", "rank"], kind="stable", ignore_index=True)
    listed = examples.loc[lists["example_id"].unique()]
    names = as_words(listed["example"])
    frames = {
        ".run": {
            "qid": names.loc[lists["example_id"]].array,
            "Q0": "Q0",
            "item": words[lists["item_id"]],
            "rank": lists["rank"],
            # Programs read no rank, and break ties by rules of their own.
            "score": -lists["rank"],
            "tag": tag,
        },
        ".qrels": {
            "qid": names.array,
            "iteration": 0,
            "item": words[standing_items(items)[listed["target"]]],
            "relevance": 1,
        },
    }
    for ending, columns in frames.items():
        with atomic(output.with_suffix(ending)) as partial:
            pd.DataFrame(columns).to_csv(
                partial, sep=" ", header=False, index=False, lineterminator="\n", quoting=3
            )


if __name__ == "__main__":
    run(export)
