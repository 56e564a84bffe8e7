import numpy as np
import pytest

from tlsearch.evidence.effects import RESAMPLES, Effect, paired_effect


def draws(rng: np.random.Generator, accuracy: float, shape: tuple[int, int]) -> np.ndarray:
    return (rng.random(shape) < accuracy).astype(int)


def by_hand(values: np.ndarray, seed: int) -> tuple[float, float]:
    """The same interval, one index at a time."""
    rng = np.random.default_rng(seed)
    rows, columns = values.shape
    means = [
        values[np.ix_(rng.integers(rows, size=rows), rng.integers(columns, size=columns))].mean()
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def test_against_a_bootstrap_by_index() -> None:
    rng = np.random.default_rng(0)
    ability = np.array([0.9, 0.85, 0.8, 0.95])[:, None]
    right = (rng.random((4, 200)) < ability).astype(int)
    reference = draws(rng, 0.8, (4, 200))
    for other in (None, reference):
        effect = paired_effect(right, other, seed=1)
        values = right - (0 if other is None else other)
        low, high = by_hand(values, seed=2)
        assert effect.mean == pytest.approx(values.mean())
        # Accuracies come in steps of 1/800, and ends of intervals from 4000 resamples err by two.
        assert effect.low == pytest.approx(low, abs=0.008)
        assert effect.high == pytest.approx(high, abs=0.008)
        assert (effect.num_seeds, effect.num_images) == (4, 200)


def test_covers_a_planted_difference() -> None:
    rng = np.random.default_rng(0)
    covered, excluded = 0, 0
    for repeat in range(40):
        right, reference = draws(rng, 0.9, (5, 200)), draws(rng, 0.8, (5, 200))
        effect = paired_effect(right, reference, seed=repeat)
        covered += effect.low <= 0.1 <= effect.high
        excluded += effect.low > 0
    assert covered >= 35  # of 40, where 38 are expected
    assert excluded == 40


def test_identical_arms_differ_by_nothing() -> None:
    right = draws(np.random.default_rng(0), 0.9, (3, 100))
    assert paired_effect(right, right, seed=0) == Effect(0.0, 0.0, 0.0, 3, 100)


def test_one_seed_has_the_interval_of_a_proportion() -> None:
    right = np.zeros((1, 1000), dtype=int)
    right[0, :900] = 1
    effect = paired_effect(right, None, seed=0)
    assert effect.mean == 0.9
    half = 1.96 * (0.9 * 0.1 / 1000) ** 0.5
    assert effect.low == pytest.approx(0.9 - half, abs=0.003)
    assert effect.high == pytest.approx(0.9 + half, abs=0.003)


def test_pairing_removes_what_both_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.random((1, 400)) < 0.3  # images that every model gets wrong
    reference = np.where(hard, 0, 1).repeat(3, axis=0)
    right = reference.copy()
    right[:, np.flatnonzero(hard)[:8]] = 1
    paired = paired_effect(right, reference, seed=0)
    alone = paired_effect(right, None, seed=0)
    assert paired.low > 0
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_seeds_that_disagree_widen_the_interval() -> None:
    agree = np.tile(np.array([1] * 80 + [0] * 20), (4, 1))
    disagree = np.array([[1] * 100, [1] * 60 + [0] * 40] * 2)
    narrow, wide = (paired_effect(a, None, seed=0) for a in (agree, disagree))
    assert narrow.mean == wide.mean == 0.8
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_the_same_seed_gives_the_same_interval() -> None:
    right = draws(np.random.default_rng(0), 0.7, (3, 997))
    assert paired_effect(right, None, seed=4) == paired_effect(right, None, seed=4)
    assert paired_effect(right, None, seed=4) != paired_effect(right, None, seed=5)
