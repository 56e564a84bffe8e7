import numpy as np
import pytest
from scipy import stats

from tests.comparison.simulated import World, answers
from tlsearch.comparison.power import (
    MOST_SEEDS,
    TYPICAL_ACCURACY,
    error_of_mean,
    seeds_to_settle,
    smallest_effect,
)
from tlsearch.comparison.variance import Noise, crossed


def settle(noise: Noise, *, effect: float, smallest: float, blocks: int = 1) -> int | None:
    return seeds_to_settle(
        [noise] * blocks,
        [1 / blocks] * blocks,
        effect=effect,
        smallest=smallest,
        level=0.95,
    ).seeds


def test_error_by_hand() -> None:
    noise = Noise(seed=4.0, image=9.0, rest=12.0, num_images=3)
    # 4 / 2 + 9 / 3 + 12 / 6; mean squares 2 + 2 of the seeds and 3 + 2 of the images.
    variance, freedom = error_of_mean(noise, seeds=2)
    assert variance == pytest.approx(7)
    assert freedom == pytest.approx(49 / (16 / 1 + 25 / 2))


def test_the_error_is_that_of_the_measured_mean() -> None:
    rng = np.random.default_rng(0)
    found = crossed(rng.normal(size=(5, 1)) + np.arange(40.0) / 10 + rng.normal(size=(5, 40)))
    variance, freedom = error_of_mean(found.noise, seeds=5)
    assert variance == pytest.approx(found.variance)
    assert freedom == pytest.approx(found.freedom)


def test_seeds_of_numbers_a_seed_by_hand() -> None:
    noise = Noise(seed=1.0, image=0.0, rest=0.0, num_images=0)
    # Half an interval t(n - 1) / sqrt(n) of at most 1: 2.365 / 2.646 at 7, 2.571 / 2.449 at 6.
    assert settle(noise, effect=0.0, smallest=2.0) == 7
    # An effect of 2 shows with t(n - 1, 0.975) + t(n - 1, 0.8) of at most 2 sqrt(n): at 5
    # 2.776 + 0.941 against 4.472, at 4 3.182 + 0.978 against 4.
    assert settle(noise, effect=-2.0, smallest=0.1) == 5


def test_a_small_test_set_is_never_settled() -> None:
    noise = Noise(seed=1e-4, image=0.02, rest=0.02, num_images=100)
    more = seeds_to_settle([noise], [1.0], effect=0.005, smallest=0.015, level=0.95)
    assert more.seeds is None
    assert more.more_never_would


def test_a_need_of_very_many_seeds_is_not_never() -> None:
    noise = Noise(seed=1.0, image=0.0, rest=0.0, num_images=0)
    more = seeds_to_settle([noise], [1.0], effect=0.0, smallest=0.01, level=0.95)
    assert more == (None, False)
    assert 1.96 / MOST_SEEDS**0.5 > 0.01 / 2


def test_the_smallest_effect_is_found_as_often_as_said() -> None:
    noise = Noise(seed=1.0, image=0.0, rest=0.0, num_images=0)
    effect = smallest_effect(noise, seeds=8, claims=5, blocks=1)
    # Against the noncentral t at the first step of Holm.
    bar = stats.t.ppf(1 - 0.01 / 2, 7)
    assert stats.nct.sf(bar, 7, effect * 8**0.5) == pytest.approx(0.8, abs=0.03)


def test_what_limits_the_smallest_effect() -> None:
    def points(*, seeds: int = 8, claims: int = 1, blocks: int = 1) -> float:
        return 100 * smallest_effect(TYPICAL_ACCURACY, seeds=seeds, claims=claims, blocks=blocks)

    assert points(seeds=3) > points(seeds=8) > points(seeds=100)
    # With endless seeds the test set remains: 2.80 standard errors of sqrt(0.02 / 1000).
    assert points(seeds=100_000) == pytest.approx(2.8 * 100 * (0.02 / 1000) ** 0.5, abs=0.01)
    assert points(claims=22) > points(claims=1)
    assert points(blocks=4) < points(blocks=1)


def test_the_typical_noise_is_what_simulations_draw() -> None:
    drawn = answers(np.random.default_rng(0), World(), repeats=60, seeds=8, gains=[0, 0])
    differences = drawn[:, 1].astype(float) - drawn[:, 0]
    found = [crossed(table).noise for table in differences]
    assert np.abs(differences).mean() == pytest.approx(0.04, rel=0.1)
    assert np.mean([n.seed for n in found]) == pytest.approx(TYPICAL_ACCURACY.seed, rel=0.25)
    assert np.mean([n.image for n in found]) == pytest.approx(TYPICAL_ACCURACY.image, rel=0.25)
    assert np.mean([n.rest for n in found]) == pytest.approx(TYPICAL_ACCURACY.rest, rel=0.25)
