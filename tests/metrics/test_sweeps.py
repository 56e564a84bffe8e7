from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from tlsearch.metrics.sweeps import (
    divergence_share,
    expected_best,
    mean_rank,
    score_correlation,
    trials_to_come_within,
    usable_decades,
)


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    values = np.array([0.7, 0.2, 0.9, 0.9, 0.4])
    by_hand = [np.mean([max(some) for some in combinations(values, n)]) for n in range(1, 6)]
    assert expected_best(values) == pytest.approx(by_hand)


def test_expected_best_of_many_trials_does_not_overflow() -> None:
    curve = expected_best(np.linspace(0, 1, 3001))
    assert curve[0] == pytest.approx(0.5)
    assert curve[-1] == pytest.approx(1.0)
    assert (np.diff(curve) > -1e-9).all()


def test_trials_to_come_within() -> None:
    values = np.array([0.0, 0.0, 0.9])  # expected best 0.3, 0.6, 0.9
    assert expected_best(values) == pytest.approx([0.3, 0.6, 0.9])
    assert trials_to_come_within(values, margin=0.0) == 3
    assert trials_to_come_within(values, margin=0.3) == 2
    assert trials_to_come_within(values, margin=0.7) == 1
    assert trials_to_come_within(np.array([0.5]), margin=0.01) == 1
    assert trials_to_come_within(np.full(9, 0.5), margin=0.0) == 1


def test_usable_decades_by_hand() -> None:
    rates = np.array([1e-4, 1e-3, 1e-2, 1e-1])
    # Bar 0.88: left crossed at 0.88 of 0.90 … 0.70, a tenth of a decade out; right never.
    assert usable_decades(rates, np.array([0.1, 0.7, 0.9, 0.89]), margin=0.02) == pytest.approx(1.1)
    # A second hill apart from the best does not count; diverged runs are below any bar.
    heights = np.array([0.9, 0.5, 0.9, np.nan])
    assert usable_decades(rates, heights, margin=0.2) == pytest.approx(0.5)
    assert usable_decades(rates, np.full(4, 0.5), margin=0.02) == pytest.approx(3)


@pytest.mark.parametrize("rates", [[1e-2, 1e-3], [1e-2, 1e-2], [0, 1]])
def test_rates_must_ascend(rates: list[float]) -> None:
    with (
        np.errstate(divide="ignore"),
        pytest.raises(ValueError, match="ascend"),
    ):
        usable_decades(np.array(rates), np.array([0.5, 0.6]), margin=0.02)


def test_divergence_share() -> None:
    assert divergence_share(np.array([1.0, np.nan, np.inf, 3.0])) == 0.5
    assert divergence_share(np.array([1.0])) == 0


def test_mean_rank_by_hand() -> None:
    scores = np.array([[0.9, 0.8, 0.7], [0.5, 0.5, 0.9]])
    # Ranks 1 2 3 and, with a tie for 2 and 3, 2.5 2.5 1.
    assert mean_rank(scores) == pytest.approx([1.75, 2.25, 2.0])
    drawn = np.random.default_rng(0).integers(0, 5, size=(20, 6))
    assert mean_rank(drawn) == pytest.approx(stats.rankdata(-drawn, axis=1).mean(axis=0))
    with pytest.raises(ValueError, match="every arm"):
        mean_rank(np.array([[0.1, np.nan]]))


def test_score_correlation_is_kendalls() -> None:
    scores, reached = np.array([1, 2, 2, 4]), np.array([0.5, 0.6, 0.9, 0.7])
    expected = stats.kendalltau(scores, reached).statistic
    assert score_correlation(scores, reached) == pytest.approx(expected)
    assert score_correlation(scores, -scores) == -1
    assert np.isnan(score_correlation(np.ones(3), reached[:3]))
