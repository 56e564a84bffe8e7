import numpy as np
import pytest

from tlsearch.metrics.domain import domain_error, proxy_a_distance


def test_domains_that_are_apart_are_told_apart() -> None:
    rng = np.random.default_rng(0)
    left = rng.normal(size=(40, 6))
    assert domain_error(left, rng.normal(size=(60, 6)) + 20, seed=0) == 0


def test_one_domain_is_guessed() -> None:
    rng = np.random.default_rng(0)
    errors = [domain_error(*rng.normal(size=(2, 50, 4)), seed=0) for _ in range(60)]
    assert np.mean(errors) == pytest.approx(0.5, abs=0.03)


def test_the_error_is_that_of_the_best_cut() -> None:
    """Two normal domains d apart overlap by Φ(-d / 2)."""
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(4000, 1)), rng.normal(2, size=(4000, 1))
    assert domain_error(left, right, seed=0) == pytest.approx(0.1587, abs=0.012)


def test_the_larger_domain_has_no_say() -> None:
    rng = np.random.default_rng(0)
    errors = [
        domain_error(rng.normal(size=(20, 2)), rng.normal(size=(500, 2)), seed=seed)
        for seed in range(40)
    ]
    # A classifier that leaned to the larger side would be right on all but 20 of 520.
    assert np.mean(errors) == pytest.approx(0.5, abs=0.06)
    assert domain_error(np.eye(6), np.eye(6), seed=3) == domain_error(np.eye(6), np.eye(6), seed=3)


def test_the_distance_that_an_error_stands_for() -> None:
    assert [proxy_a_distance(e) for e in (0.0, 0.25, 0.5, 0.6)] == [2.0, 1.0, 0.0, 0.0]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="same features"):
        domain_error(np.ones((9, 2)), np.ones((9, 3)), seed=0)
    with pytest.raises(ValueError, match="5 of each"):
        domain_error(np.ones((4, 2)), np.ones((9, 2)), seed=0)
