from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from scripts.evaluate.bootstrap import (
    Draws,
    between,
    cluster_bootstrap,
    holm,
    interval,
    p_value,
    widened,
)


def drawn(values: np.ndarray, users: np.ndarray, resamples: int = 9, seed: int = 0) -> np.ndarray:
    return cluster_bootstrap(values, users, Draws(resamples=resamples, seed=seed))


def test_agrees_with_scipy_when_users_have_one_example() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(150, 2))
    samples = drawn(values, np.arange(150), resamples=20_000, seed=1)
    peer = stats.bootstrap(
        (values,), np.mean, axis=0, n_resamples=20_000, method="percentile", rng=2
    )
    low, high = interval(samples)
    np.testing.assert_allclose(low, peer.confidence_interval.low, rtol=0.01)
    np.testing.assert_allclose(high, peer.confidence_interval.high, rtol=0.01)
    np.testing.assert_allclose(samples.std(axis=0), peer.standard_error, rtol=0.03)


def test_clusters_widen_the_interval() -> None:
    """Nine copies of an example are worth one: treated as independent, they look thrice as sure."""
    one = np.random.default_rng(0).normal(size=(60, 1))
    many = np.repeat(one, 9, axis=0)
    users = np.repeat(np.arange(60), 9)

    def width(values: np.ndarray, users: np.ndarray) -> float:
        low, high = interval(drawn(values, users, resamples=4000))
        return (high - low).item()

    assert width(many, users) == pytest.approx(width(one, np.arange(60)))
    assert width(many, users) / width(many, np.arange(540)) == pytest.approx(3, rel=0.1)


def test_columns_are_paired_and_seeds_repeat(monkeypatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 1))
    users = np.arange(30) // 3
    shifted = drawn(np.hstack([values, values + 1]), users, resamples=50)
    np.testing.assert_allclose(shifted[:, 1] - shifted[:, 0], 1, rtol=1e-6)
    np.testing.assert_array_equal(shifted[:, :1], drawn(values, users, 50, seed=0))
    assert not np.array_equal(shifted[:, :1], drawn(values, users, 50, seed=1))
    monkeypatch.setattr("scripts.evaluate.bootstrap.BLOCK", 70)
    for most, kept in ((0, 0), (500, 1)):  # Counts of 10 users for 50 resamples, then of 9.
        monkeypatch.setattr("scripts.evaluate.bootstrap.KEPT", most)
        monkeypatch.setattr("scripts.evaluate.bootstrap._counts", counts := {})
        for _ in range(2):
            np.testing.assert_allclose(shifted[:, :1], drawn(values, users, 50), atol=1e-6)
        drawn(values[3:], users[3:], 50)
        assert len(counts) == kept


def test_seeds_are_crossed_with_users() -> None:
    """Against all 4 x 27 equally likely draws of 2 seeds and 3 users, hand-laid."""
    values = np.array(
        [[[0.0], [1.0], [1.0], [5.0]], [[2.0], [0.0], [7.0], [3.0]]]  # users a, b, b, c
    )
    rows = {"a": [0], "b": [1, 2], "c": [3]}
    exact = [
        np.mean([values[s, i, 0] for s in seeds for user in users for i in rows[user]])
        for seeds in itertools.product(range(2), repeat=2)
        for users in itertools.product("abc", repeat=3)
    ]
    support, share = np.unique(np.round(exact, 9), return_counts=True)
    samples = drawn(values, np.array(list("abbc")), resamples=100_000)
    found, counts = np.unique(np.round(samples[:, 0], 9), return_counts=True)
    np.testing.assert_array_equal(found, support)
    np.testing.assert_allclose(counts / 100_000, share / len(exact), atol=0.006)


def test_one_seed_is_users_alone_and_further_seeds_keep_their_draws() -> None:
    values = np.random.default_rng(0).normal(size=(30, 2))
    users = np.arange(30) // 3
    alone = drawn(values, users, resamples=50)
    np.testing.assert_array_equal(drawn(values[None], users, 50), alone)
    np.testing.assert_allclose(drawn(np.stack([values] * 3), users, 50), alone)


def test_coverage_under_random_effects() -> None:
    """Effects of seeds and of users: the crossed intervals hold the mean as often as they say, and
    those over users alone far too seldom."""
    rng = np.random.default_rng(0)
    seeds, persons, runs = 20, 40, 200
    users = np.repeat(np.arange(persons), 2)
    crossed = alone = 0
    for run in range(runs):
        values = (
            rng.normal(size=(seeds, 1))
            + rng.normal(size=persons)[users]
            + 0.5 * rng.normal(size=(seeds, 2 * persons))
        )[:, :, None]
        low, high = interval(drawn(values, users, 400, seed=run))
        crossed += low[0] <= 0 <= high[0]
        low, high = interval(drawn(values.mean(axis=0), users, 400, seed=run))
        alone += low[0] <= 0 <= high[0]
    assert 0.9 <= crossed / runs <= 0.98
    assert alone / runs < 0.85


@pytest.mark.parametrize("seeds", [3, 8])
def test_seeds_alone_give_the_t_interval(seeds: int) -> None:
    """Where users do not differ, the interval is about Student's over the seeds' means."""
    of_seeds = np.random.default_rng(seeds).normal(size=(seeds, 1))
    values = np.repeat(of_seeds[:, None], 30, axis=1)
    samples = drawn(values, np.arange(30), 20_000)
    low, high = interval(widened(samples, of_seeds.mean(axis=0), of_seeds))
    peer = stats.ttest_1samp(of_seeds[:, 0], 0).confidence_interval()
    assert (high - low).item() == pytest.approx(peer.high - peer.low, rel=0.25)
    narrow = np.subtract(*interval(samples)[::-1]).item()
    assert narrow < 0.8 * (peer.high - peer.low)


def test_widening_leaves_what_needs_none() -> None:
    values = np.random.default_rng(0).normal(size=(4, 50, 2)) + np.arange(2)
    samples, value = drawn(values, np.arange(50), 500), values.mean(axis=(0, 1))
    one = values[:1].mean(axis=1)
    np.testing.assert_array_equal(widened(samples, value, one), samples)
    same = np.repeat(one, 4, axis=0)
    np.testing.assert_allclose(widened(samples, value, same), samples, atol=1e-5)
    still = np.zeros((10, 1))
    np.testing.assert_array_equal(widened(still, still[0], still[:3]), still)


@pytest.mark.parametrize(("ratio", "least", "most"), [(1, 0.91, 0.985), (3, 0.89, 0.985)])
def test_coverage_with_three_seeds(ratio: float, least: float, most: float) -> None:
    """Three trainings that differ `ratio` times as much as the users' error."""
    rng = np.random.default_rng(0)
    runs, users = 400, np.arange(60)
    held = narrow = 0
    for run in range(runs):
        values = (
            ratio / np.sqrt(60) * rng.normal(size=(3, 1))
            + rng.normal(size=60)
            + 0.5 * rng.normal(size=(3, 60))
        )[:, :, None]
        samples = drawn(values, users, 400, seed=run)
        low, high = interval(widened(samples, values.mean(axis=(0, 1)), values.mean(axis=1)))
        held += low[0] <= 0 <= high[0]
        low, high = interval(samples)
        narrow += low[0] <= 0 <= high[0]
    assert least <= held / runs <= most
    assert held > narrow


def test_p_value_of_known_counts() -> None:
    """999 resamples; by column 10, 999, 0 and 989 of them lie at or below 0."""
    below = np.array([10, 999, 0, 989])
    samples = np.where(np.arange(999)[:, None] < below, -1.0, 1.0)
    np.testing.assert_allclose(p_value(samples), [0.022, 0.002, 0.002, 0.022])
    # Half of the resamples on either side, and no difference at all.
    assert p_value(np.array([-1.0, 1.0])) == 1
    assert p_value(np.zeros(10)) == 1


def test_p_value_agrees_with_the_interval_and_with_the_t_test() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(loc=[0, 0.1, 0.2, 0.3], size=(200, 4))
    samples = drawn(values, np.arange(200), resamples=9999)
    p = p_value(samples)
    np.testing.assert_allclose(p, stats.ttest_1samp(values, 0).pvalue, atol=0.015)
    low, high = interval(samples)
    np.testing.assert_array_equal(p < 0.05, (low > 0) | (high < 0))


def test_p_values_are_uniform_where_there_is_no_difference() -> None:
    p = [
        p_value(drawn(values[:, None], np.arange(80), 199, seed=i)).item()
        for i, values in enumerate(np.random.default_rng(2).normal(size=(400, 80)))
    ]
    assert 0.025 <= np.mean(np.array(p) <= 0.05) <= 0.085
    assert 0.45 <= np.mean(np.array(p) <= 0.5) <= 0.57


@pytest.mark.parametrize(
    ("p", "adjusted"),
    [
        # By hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 raised to the step before it (the
        # example of the Wikipedia article "Holm-Bonferroni method").
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),
        ([0.6, np.nan, 0.7], [1.0, np.nan, 1.0]),
        ([0.02], [0.02]),
        ([], []),
    ],
)
def test_holm(p: list[float], adjusted: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p)), adjusted)


@pytest.mark.parametrize("values", [np.zeros((0, 1)), np.array([[1.0], [np.nan]])])
def test_missing_values_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no NaN"):
        drawn(values, np.arange(len(values)))


def test_the_variance_between_seeds_is_pooled_over_objectives():
    """Differences 1, 3 and 2, 6 of two seeds: variances 2 and 8, their mean 5; two objectives have
    two degrees of freedom, less a fifth for what they share."""
    found = between(np.array([[[1.0], [3.0]], [[2.0], [6.0]]]))
    assert found.variance == pytest.approx([5.0])
    assert found.freedom == pytest.approx([2 / 1.25])


@pytest.mark.slow
def test_pooled_intervals_of_two_seeds_hold_the_truth():
    """Trainings that differ by three times the users' error: simulated, the truth is 0."""
    rng = np.random.default_rng(0)
    users, draws = np.arange(200), Draws(resamples=300)
    held, widths = [], []
    for _ in range(200):
        base, base_of_seed = rng.normal(size=200), rng.normal(size=2)
        rivals = rng.normal(size=(4, 1, 200)) - base
        rivals = rivals + 0.3 * (rng.normal(size=(4, 2)) - base_of_seed)[..., None] / 2**0.5
        ours = rivals[0][..., None]
        samples, of_seeds = cluster_bootstrap(ours, users, draws), ours.mean(axis=1)
        of_all = between(rivals.mean(axis=2)[..., None])
        for pooled in (None, of_all):
            low, high = interval(widened(samples, of_seeds.mean(axis=0), of_seeds, pooled))
            widths.append(high - low)
            held.append(low <= 0 <= high)
    assert np.mean(held[1::2]) > 0.9
    assert np.mean(widths[1::2]) < 0.7 * np.mean(widths[::2])
