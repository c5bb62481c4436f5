from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scripts.baselines import lists
from scripts.evaluate.per_example import evaluate
from tests.small_data import write_catalogue, write_examples

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([-0.0, 0.0, 1.0, -1.0, 2.5]) | st.floats(-1e6, 1e6, width=32),
)


def catalogue_of(titles: list[int], counts: list[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "item_id": np.arange(len(titles), dtype=np.int32),
            "title": [f"title {title}" for title in titles],
            "train_count": np.array(counts, np.int32),
        }
    )


@given(st.data(), SCORES, st.integers(1, 15))
def test_a_title_stands_where_its_best_item_would(data, scores: np.ndarray, depth: int) -> None:
    """The list of titles is the full sort of the items, ties by item, without all but the first of
    each title; also where no two items share one."""
    n = scores.shape[1]
    shared = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    names = data.draw(shared | st.just([*range(n)]))
    counts = data.draw(st.lists(st.integers(0, 2), min_size=n, max_size=n))
    standing = {
        name: min((i for i in range(n) if names[i] == name), key=lambda i: (-counts[i], i))
        for name in set(names)
    }
    ids, values = lists.top(scores, lists.titles_of(catalogue_of(names, counts)), depth)
    for row, listed, shown in zip(scores, ids, values, strict=True):
        best = {name: max(row[i] for i in range(n) if names[i] == name) for name in standing}
        order = sorted(standing, key=lambda name, best=best: (-best[name], standing[name]))
        assert listed.tolist() == [standing[name] for name in order][:depth]
        assert shown.tolist() == [best[name] for name in order][:depth]


def test_metrics_find_another_edition_of_the_target(tmp_path: Path) -> None:
    """The metric's rule, equal titles are one target, on a list of one item per title."""
    items = write_catalogue(tmp_path / "items", ["Up", "Heat", "Up", "Alien"])
    test = write_examples(tmp_path / "test", [("u", [3], 0), ("u", [3], 2), ("u", [3], 1)])
    scores = np.array([[0.1, 0.5, 0.9, 0.7]] * 3)
    ids, values = lists.rank_in_blocks(lambda rows: scores[rows], 3, pd.read_parquet(items), 50)
    assert ids.tolist() == [[0, 3, 1]] * 3
    lists.write_lists(np.arange(3), ids, values, tmp_path / "lists")
    evaluate([tmp_path / "lists"], test, items, [tmp_path / "metrics"])
    metrics = pd.read_parquet(tmp_path / "metrics")
    assert metrics["rank"].tolist() == [1, 1, 3]
    assert metrics["hr@50"].tolist() == [1, 1, 1]  # Every title is listed, so it is known.


def test_blocks_do_not_change_the_lists(monkeypatch) -> None:
    scores = np.random.default_rng(0).normal(size=(23, 7))
    monkeypatch.setattr(lists, "BLOCK", 28)
    catalogue = catalogue_of(list(range(7)), [0] * 7)
    ids, _ = lists.rank_in_blocks(lambda rows: scores[rows], 23, catalogue, 3)
    np.testing.assert_array_equal(ids, np.argsort(-scores, axis=1)[:, :3])
