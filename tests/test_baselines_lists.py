from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scripts.baselines import lists

SCORES = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.sampled_from([-0.0, 0.0, 1.0, -1.0, 2.5]) | st.floats(-1e6, 1e6, width=32),
)


@given(SCORES, st.integers(1, 15))
def test_top_is_the_full_sort_with_ties_by_item(scores: np.ndarray, depth: int) -> None:
    ids, values = lists.top(scores, depth)
    expected = [
        sorted(range(len(row)), key=lambda item, row=row: (-row[item], item))[:depth]
        for row in scores
    ]
    assert ids.tolist() == expected
    np.testing.assert_array_equal(values, np.take_along_axis(scores, ids, axis=1))


def test_blocks_do_not_change_the_lists(monkeypatch) -> None:
    scores = np.random.default_rng(0).normal(size=(23, 7))
    monkeypatch.setattr(lists, "BLOCK", 28)
    ids, _ = lists.rank_in_blocks(lambda rows: scores[rows], 23, 7, 3)
    np.testing.assert_array_equal(ids, np.argsort(-scores, axis=1)[:, :3])
