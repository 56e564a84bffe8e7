"""How many seeds settle a question, and how small an effect a number of seeds can show."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from scipy.special import stdtrit

from tlsearch.comparison.variance import Noise, half_width, satterthwaite

ALPHA, POWER = 0.05, 0.8
"""Chance of any false verdict in a table, and what intervals leave out; chance with which an effect
should be found.
"""
MOST_SEEDS = 1000


class MoreSeeds(NamedTuple):
    """What would settle an open question: so many seeds a scenario, or None.

    Then `more_never_would` distinguishes a test set whose own noise keeps it open from a need of
    more than `MOST_SEEDS`.
    """

    seeds: int | None
    more_never_would: bool


# Guesses for planning before anything is measured: arms that differ by 0.8 points from seed to
# seed, disagree on 4 % of 1,000 test images, and half of that on the same images with every seed
# (two small networks retrained on digits disagreed on 1 to 3 %, at most a fifth of it lasting).
# With it 8 seeds find 3 points, twice delta, in 99 % of tables of 22 claims in one scenario.
TYPICAL_ACCURACY = Noise(seed=0.008**2, image=0.02, rest=0.02, num_images=1000)


def error_of_mean(noise: Noise, *, seeds: int) -> tuple[float, float]:
    """Variance and Satterthwaite's degrees of freedom of a mean over so many seeds."""
    images = noise.num_images
    rest = noise.rest / (seeds * images) if images else 0.0
    by_seed = noise.seed / seeds + rest
    if not images:
        return by_seed, seeds - 1.0
    by_image = noise.image / images + rest
    variance = by_seed + by_image - rest
    return variance, satterthwaite([by_seed, by_image], [seeds - 1.0, images - 1.0], variance)


def pooled_error(
    blocks: Sequence[Noise], weights: Sequence[float], *, seeds: int
) -> tuple[float, float]:
    """The same of a weighted mean over independent blocks."""
    errors = [error_of_mean(noise, seeds=seeds) for noise in blocks]
    parts = [w**2 * variance for w, (variance, _) in zip(weights, errors, strict=True)]
    return sum(parts), satterthwaite(parts, [freedom for _, freedom in errors])


def seeds_to_settle(
    blocks: Sequence[Noise],
    weights: Sequence[float],
    *,
    effect: float,
    smallest: float,
    level: float,
) -> MoreSeeds:
    """The fewest seeds a scenario after which the interval should leave out 0 or lie inside ±delta.

    Half an interval of delta / 2 settles it whatever the effect is; a measured effect beyond that
    is also settled, with a chance of `POWER`, once it shows against 0. Variances count as known.
    """
    pairs = list(zip(blocks, weights, strict=True))
    endless = sum(w**2 * n.image / n.num_images for n, w in pairs if n.num_images)

    def settles(variance: float, freedom: float) -> bool:
        half = half_width(variance, freedom, level=level)
        shows = half + _margin(variance, freedom) <= abs(effect)
        return shows or half <= smallest / 2

    def settled(seeds: int) -> bool:
        return settles(*pooled_error(blocks, weights, seeds=seeds))

    if not settled(MOST_SEEDS):
        return MoreSeeds(None, not settles(endless, math.inf))
    low, high = 1, MOST_SEEDS  # what settles it is met by all larger numbers too
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return MoreSeeds(high, False)


def smallest_effect(noise: Noise, *, seeds: int, claims: int, blocks: int) -> float:
    """The least true effect that is found with a chance of `POWER`, in the statistic's unit.

    claims: size of the table, whose first step of Holm is the hardest; blocks: independent test
    sets pooled. Seeds at least 2.
    Source: (t(1 - alpha / 2) + t(power)) standard errors, Bloom 1995
    (doi:10.1177/0193841X9501900504).
    """
    variance, freedom = pooled_error([noise] * blocks, [1 / blocks] * blocks, seeds=seeds)
    half = half_width(variance, freedom, level=1 - ALPHA / claims)
    return half + _margin(variance, freedom)


def _margin(variance: float, freedom: float) -> float:
    return float(stdtrit(min(freedom, 1e9), POWER)) * math.sqrt(variance)
