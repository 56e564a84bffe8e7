import math

import numpy as np
import pytest
from scipy import stats

from tests.comparison.compared import RATES, arm_of, comparison, sweep_of
from tlsearch.comparison.claims import Scenario
from tlsearch.comparison.overview import estimate, measures_of, sweeps_of
from tlsearch.comparison.results import ScenarioResults
from tlsearch.comparison.variance import paired_effect


def place_with(*sweeps: object) -> ScenarioResults:
    rng = np.random.default_rng(0)
    (place,) = comparison("A", {"A1": arm_of(rng, np.ones((2, 5)))}, traits=Scenario()).scenarios
    return place._replace(sweeps=sweeps)  # type: ignore[arg-type]


def test_a_mean_has_students_interval() -> None:
    found = estimate("cka_drift.layer1", np.array([0.1, 0.2, 0.6]))
    assert found is not None
    low, high = stats.t.interval(0.95, 2, loc=0.3, scale=stats.sem([0.1, 0.2, 0.6]))
    assert (found.mean, found.low, found.high) == pytest.approx((0.3, low, high))
    assert (found.repeats, found.is_geometric) == (3, False)


def test_what_is_judged_by_ratios_has_a_geometric_mean() -> None:
    found = estimate("early_gradient_norm", np.array([1.0, 10.0, np.nan, 100.0]))
    assert found is not None
    half = stats.t.ppf(0.975, 2) * math.log(10) / math.sqrt(3)
    assert found.mean == pytest.approx(10)
    assert found.high == pytest.approx(10 * math.exp(half))
    assert (found.repeats, found.is_geometric) == (3, True)
    frozen = estimate("weight_drift.stem", np.array([0.0, 0.5]))
    assert frozen is not None
    assert (frozen.mean, frozen.is_geometric) == (0.25, False)


def test_one_repeat_tells_no_spread_and_none_nothing() -> None:
    found = estimate("oscillation", np.array([0.5, np.nan]))
    assert found is not None
    assert (found.mean, found.low, found.high) == (pytest.approx(0.5), None, None)
    assert estimate("oscillation", np.array([np.nan])) is None
    rng = np.random.default_rng(0)
    arm = arm_of(rng, np.ones((2, 5)), values=("cka_drift.stem", "cka_drift.layer1"))
    arm = arm._replace(values={**arm.values, "later_accuracy": np.full(2, np.nan)})
    assert list(measures_of(arm)) == ["cka_drift.stem", "cka_drift.layer1"]


def test_a_sweep_ascends_and_counts_what_broke_down() -> None:
    rng = np.random.default_rng(0)
    right = (rng.random((3, 4, 300)) < 0.8).astype(float)
    sweep = sweep_of(rng, "A1", "lr", RATES[:3], right)
    diverged = np.array([[False] * 4, [False, True, True, False], [False] * 4])
    shuffled = sweep._replace(
        settings=(0.01, 0.001, 0.003),
        diverged=diverged,
        validation=np.vstack([sweep.validation[:2], np.full(4, np.nan)]),
        answers=np.concatenate([sweep.answers[:2], np.full((1, 4, 100), np.nan)]),
    )
    (found,) = sweeps_of(place_with(shuffled))
    assert [point.setting for point in found.points] == [0.001, 0.003, 0.01]
    first, unknown, last = found.points
    expected = paired_effect(sweep.answers[0], None)
    assert (last.accuracy, last.low, last.high) == expected[:3]
    assert (first.seeds, first.diverged) == (4, 2)
    assert (unknown.accuracy, unknown.seeds, unknown.diverged) == (None, 0, 0)


def test_settings_that_are_words_keep_their_order() -> None:
    rng = np.random.default_rng(0)
    sweep = sweep_of(rng, "A5", "optimizer", (1, 2), np.ones((2, 3, 250)))
    (found,) = sweeps_of(place_with(sweep._replace(settings=("sgd", "adam"))))
    assert [point.setting for point in found.points] == ["sgd", "adam"]
