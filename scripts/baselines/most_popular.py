"""Most popular: the items with most training targets, the same list for everyone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from scripts.baselines.lists import titles_of, top, write_lists
from scripts.baselines.settings import MostPopular
from scripts.command import run
from scripts.contracts import CATALOGUE, EXAMPLES
from scripts.files import read_table


def recommend(
    train: Path,
    test: Path,
    catalogue: Path,
    output: Path,
    settings: MostPopular | None = None,
    depth: int = 50,
) -> None:
    """List the most popular items for every test example; of equal counts the lower item_id first.

    Items of the history stay in the list, as in the published protocol. The score is the count.

    Args:
        train: training examples.
        test: examples to recommend for.
        catalogue: the data set's catalogue.
        output: recommendations to write.
        settings: nothing in them changes the list; every baseline is called alike.
        depth: length of the lists.
    """
    items = read_table(catalogue, CATALOGUE)
    targets = read_table(train, EXAMPLES, ["target"])["target"]
    example_id = read_table(test, EXAMPLES, ["example_id"])["example_id"].to_numpy()
    counts = np.bincount(targets, minlength=len(items))
    ids, scores = top(counts[None], titles_of(items), depth)
    shape = (len(example_id), ids.shape[1])
    write_lists(example_id, np.broadcast_to(ids, shape), np.broadcast_to(scores, shape), output)


if __name__ == "__main__":
    run(recommend)
