import numpy as np
import pytest
from scipy.special import stdtrit

from tlsearch.comparison.variance import Effect, crossed, paired_effect


def draws(rng: np.random.Generator, accuracy: float, shape: tuple[int, int]) -> np.ndarray:
    return (rng.random(shape) < accuracy).astype(int)


def test_by_hand() -> None:
    right = np.array([[1, 1, 0], [1, 1, 1]])
    reference = np.array([[0, 1, 1], [0, 1, 0]])
    # Differences 1 0 -1 / 1 0 1: seeds 0 and 2/3, images 1, 0, 0; the rest ±1/3 ±1/3 ±2/3.
    # Seeds (2/9) / 2 = 1/9, images (1/3) / 3 = 1/9, the rest (4/3) / 2 / 6 = 1/9: together 1/9.
    # Degrees of freedom (1/9)² / ((1/9)² / 1 + (1/9)² / 2) = 2/3.
    effect = paired_effect(right, reference)
    assert effect.mean == pytest.approx(1 / 3)
    assert float(stdtrit(2 / 3, 0.975)) / 3 > 2  # so the interval ends where differences end
    assert (effect.low, effect.high) == (-1.0, 1.0)
    assert (effect.num_seeds, effect.num_images) == (2, 3)


def test_the_interval_is_students_about_the_mean() -> None:
    right = np.array([[1, 0] * 50, [1] * 70 + [0] * 30])
    effect, found = paired_effect(right, None), crossed(right.astype(float))
    half = float(stdtrit(found.freedom, 0.975)) * found.variance**0.5
    assert effect.mean == pytest.approx(0.6)
    assert effect.low == pytest.approx(max(0.0, 0.6 - half))
    assert effect.high == pytest.approx(min(1.0, 0.6 + half))


def test_covers_a_planted_difference() -> None:
    rng = np.random.default_rng(0)
    covered, excluded = 0, 0
    for _ in range(40):
        right, reference = draws(rng, 0.9, (5, 200)), draws(rng, 0.8, (5, 200))
        effect = paired_effect(right, reference)
        covered += effect.low <= 0.1 <= effect.high
        excluded += effect.low > 0
    assert covered >= 35  # of 40, where 38 are expected
    assert excluded == 40


def test_identical_arms_differ_by_nothing() -> None:
    right = draws(np.random.default_rng(0), 0.9, (3, 100))
    assert paired_effect(right, right) == Effect(0.0, 0.0, 0.0, 3, 100)


def test_one_seed_has_the_interval_of_a_proportion() -> None:
    right = np.zeros((1, 1000), dtype=int)
    right[0, :900] = 1
    effect = paired_effect(right, None)
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
    paired = paired_effect(right, reference)
    alone = paired_effect(right, None)
    assert paired.low > 0
    assert paired.high - paired.low < 0.5 * (alone.high - alone.low)


def test_seeds_that_disagree_widen_the_interval() -> None:
    agree = np.tile(np.array([1] * 80 + [0] * 20), (4, 1))
    disagree = np.array([[1] * 100, [1] * 60 + [0] * 40] * 2)
    narrow, wide = (paired_effect(a, None) for a in (agree, disagree))
    assert narrow.mean == wide.mean == 0.8
    assert wide.high - wide.low > 1.5 * (narrow.high - narrow.low)


def test_all_right_is_no_certainty() -> None:
    effect = paired_effect(np.ones((2, 15), dtype=int), None)
    assert effect.mean == effect.high == 1.0
    assert effect.low == pytest.approx(15 / (15 + 1.96**2))  # Wilson's interval of 15 in 15
    wrong = paired_effect(np.zeros((1, 15), dtype=int), None)
    assert (wrong.low, wrong.high) == pytest.approx((0.0, 1 - effect.low))
