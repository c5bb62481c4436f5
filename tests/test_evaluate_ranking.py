from __future__ import annotations

import numpy as np
import pytest

from scripts.evaluate.ranking import at_cutoffs, gains, hits

RANK = np.array([1, 2, 3, 5, np.nan])


def test_by_hand() -> None:
    assert hits(RANK, 3).tolist() == [1, 1, 1, 0, 0]
    assert gains(RANK, 3) == pytest.approx([1, 0.63092975, 0.5, 0, 0])
    assert gains(RANK, 5)[3] == pytest.approx(np.log(2) / np.log(6))


def test_beyond_the_depth_is_unknown() -> None:
    columns = at_cutoffs(RANK, (1, 3, 5), depth=3)
    assert list(columns) == ["hr@1", "ndcg@1", "hr@3", "ndcg@3", "hr@5", "ndcg@5"]
    assert np.isnan(columns["hr@5"]).all()
    assert np.isnan(columns["ndcg@5"]).all()
    assert not np.isnan(columns["hr@3"]).any()
