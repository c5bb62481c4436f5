from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.metrics import at_cutoffs, gains, hits

RANK = np.array([1, 2, 3, 5, np.nan])


def test_by_hand() -> None:
    assert hits(RANK, 3).tolist() == [1, 1, 1, 0, 0]
    assert gains(RANK, 3) == pytest.approx([1, 0.63092975, 0.5, 0, 0])
    assert gains(RANK, 5)[3] == pytest.approx(np.log(2) / np.log(6))


@given(st.lists(st.integers(1, 60) | st.none(), min_size=1), st.integers(1, 50))
def test_gains_are_discounted_hits(ranks: list[int | None], k: int) -> None:
    """The textbook's DCG over its ideal, summed over the list's binary relevances."""
    rank = np.array([np.nan if r is None else r for r in ranks])
    for found, r in zip(gains(rank, k), ranks, strict=True):
        relevant = [1.0 if position == r else 0.0 for position in range(1, k + 1)]
        dcg = sum(rel / np.log2(i + 1) for i, rel in enumerate(relevant, start=1))
        assert found == pytest.approx(dcg)
    assert (hits(rank, k) == (gains(rank, k) > 0)).all()


def test_a_missing_target_misses_at_every_known_cutoff() -> None:
    columns = at_cutoffs(np.array([np.nan]), (1, 50), depth=np.inf)
    assert [column.tolist() for column in columns.values()] == [[0.0]] * 4


def test_beyond_the_depth_is_unknown() -> None:
    columns = at_cutoffs(RANK, (1, 3, 5), depth=3)
    assert list(columns) == ["hr@1", "ndcg@1", "hr@3", "ndcg@3", "hr@5", "ndcg@5"]
    assert np.isnan(columns["hr@5"]).all()
    assert np.isnan(columns["ndcg@5"]).all()
    assert not np.isnan(columns["hr@3"]).any()
