"""Sub-samples of examples, and summaries of lengths."""

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from scripts.examples import subsample, summary


@given(st.integers(0, 30), st.integers(0, 35), st.integers(0, 35), st.integers(0, 3))
def test_subsamples_keep_the_order_and_are_nested(rows, first, second, seed):
    examples = pd.DataFrame({"example_id": range(100, 100 + rows)})
    small, large = (
        subsample(examples, size, seed)["example_id"].tolist() for size in sorted([first, second])
    )
    assert len(small) == min(first, second, rows)
    assert small == sorted(set(small))
    assert set(small) <= set(large) <= set(examples["example_id"])
    assert subsample(examples, None, seed) is examples


def test_seeds_draw_differently():
    examples = pd.DataFrame({"example_id": range(100)})
    draws = {tuple(subsample(examples, 10, seed)["example_id"]) for seed in range(5)}
    assert len(draws) == 5


def test_summary():
    # 19 of 20 values are 95 %.
    values = [*range(1, 20), 1000]
    assert summary(values) == {"mean": 59.5, "median": 10.5, "p95": 19, "max": 1000}
