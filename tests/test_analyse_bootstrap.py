from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from scripts.analyse.bootstrap import cluster_bootstrap, interval


def test_agrees_with_scipy_when_users_have_one_example() -> None:
    values = np.random.default_rng(0).gamma(2.0, size=(150, 2))
    samples = cluster_bootstrap(values, np.arange(150), resamples=20_000, seed=1)
    peer = stats.bootstrap(
        (values,), np.mean, axis=0, n_resamples=20_000, method="percentile", rng=2
    )
    low, high = interval(samples)
    np.testing.assert_allclose(low, peer.confidence_interval.low, rtol=0.01)
    np.testing.assert_allclose(high, peer.confidence_interval.high, rtol=0.01)
    np.testing.assert_allclose(samples.std(axis=0), peer.standard_error, rtol=0.03)


def test_follows_the_exact_distribution_over_users() -> None:
    values = np.array([[0.0], [1.0], [1.0], [5.0], [2.0], [4.0]])
    users = np.array(["b", "a", "b", "c", "b", "a"])
    groups = [values[users == user, 0] for user in "abc"]
    exact = [
        np.concatenate(draw).mean() for draw in itertools.product(groups, repeat=3)
    ]  # 27 equally likely draws
    support, share = np.unique(np.round(exact, 9), return_counts=True)
    samples = cluster_bootstrap(values, users, resamples=50_000)
    found, counts = np.unique(np.round(samples[:, 0], 9), return_counts=True)
    np.testing.assert_array_equal(found, support)
    np.testing.assert_allclose(counts / 50_000, share / 27, atol=0.01)


def test_clusters_widen_the_interval() -> None:
    """Nine copies of an example are worth one: treated as independent, they look thrice as sure."""
    one = np.random.default_rng(0).normal(size=(60, 1))
    many = np.repeat(one, 9, axis=0)
    users = np.repeat(np.arange(60), 9)

    def width(values: np.ndarray, users: np.ndarray) -> float:
        low, high = interval(cluster_bootstrap(values, users, resamples=4000))
        return (high - low).item()

    assert width(many, users) == pytest.approx(width(one, np.arange(60)))
    assert width(many, users) / width(many, np.arange(540)) == pytest.approx(3, rel=0.1)


def test_columns_are_paired_and_seeds_repeat(monkeypatch) -> None:
    values = np.random.default_rng(0).normal(size=(30, 1))
    users = np.arange(30) // 3
    shifted = cluster_bootstrap(np.hstack([values, values + 1]), users, resamples=50)
    np.testing.assert_allclose(shifted[:, 1] - shifted[:, 0], 1)
    np.testing.assert_array_equal(shifted[:, :1], cluster_bootstrap(values, users, 50, seed=0))
    assert not np.array_equal(shifted[:, :1], cluster_bootstrap(values, users, 50, seed=1))
    monkeypatch.setattr("scripts.analyse.bootstrap.BLOCK", 70)
    np.testing.assert_array_equal(shifted[:, :1], cluster_bootstrap(values, users, 50))


@pytest.mark.parametrize("values", [np.zeros((0, 1)), np.array([[1.0], [np.nan]])])
def test_missing_values_are_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no NaN"):
        cluster_bootstrap(values, np.arange(len(values)))
