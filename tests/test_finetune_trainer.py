"""The order of the training examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.finetune.trainer import LengthGroupedOrder


@given(st.lists(st.integers(1, 9), min_size=1, max_size=80), st.integers(1, 7))
def test_every_epoch_shows_each_example_once(lengths, step):
    order = LengthGroupedOrder(lengths, step, seed=0)
    for epoch in range(2):
        order.set_epoch(epoch)
        assert sorted(order) == list(range(len(lengths))) == list(range(len(order)))


def test_the_order_is_given_by_the_seed_and_the_epoch():
    lengths = np.random.default_rng(0).integers(50, 300, size=200).tolist()
    orders = {}
    for seed in range(3):
        order = LengthGroupedOrder(lengths, 8, seed)
        for epoch in (2, 0, 1):
            order.set_epoch(epoch)
            orders[seed, epoch] = tuple(order)
            assert tuple(order) == orders[seed, epoch]
    assert len(set(orders.values())) == 9


def test_steps_are_of_like_length_but_in_random_order():
    lengths = np.random.default_rng(0).integers(50, 300, size=4096)
    order = np.array(list(LengthGroupedOrder(lengths.tolist(), 32, seed=0)))
    steps = lengths[order].reshape(-1, 32)
    padded = steps.max(1).sum() * 32 / lengths.sum()
    shuffled = np.random.default_rng(1).permutation(lengths).reshape(-1, 32).max(1).sum() * 32
    assert padded < 1.1
    assert shuffled / lengths.sum() > 1.6
    # Neighbouring steps have nothing to do with each other.
    means = steps.mean(1)
    assert abs(np.corrcoef(means[1:], means[:-1])[0, 1]) < 0.3
    assert lengths.mean() == pytest.approx(means.mean())
