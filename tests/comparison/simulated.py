"""Arms with known truth: a probit model of who answers which image rightly.

Defaults are the noise that the default number of seeds was chosen for: accuracy 0.9, arms that
differ by 0.8 points from seed to seed beyond what single images do, 1,000 test images, 4 % of them
answered differently by two arms of one seed, half of the difference's variance with every seed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import multivariate_normal


class World(NamedTuple):
    images: int = 1000
    disagreement: float = 0.04
    # Of what arms do not share, and of what they do, the part that stays or goes with the seed.
    lasting: float = 0.75
    seed_sd: float = 0.008
    accuracy: float = 0.9
    by_seed: float = 0.0


def own_share(world: World) -> float:
    """Variance of the part that two arms do not share, for the wanted disagreement."""
    bar = ndtri(world.accuracy)

    def disagreement(correlation: float) -> float:
        cov = [[1, correlation], [correlation, 1]]
        return float(2 * (ndtr(bar) - multivariate_normal.cdf([bar, bar], cov=cov)))

    low, high = 0.0, 1 - 1e-6
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if disagreement(middle) > world.disagreement else (low, middle)
    return 1 - low


def answers(
    rng: np.random.Generator,
    world: World,
    *,
    repeats: int,
    seeds: int,
    gains: Sequence[float],
) -> np.ndarray:
    """0/1 of (repeats, arms, seeds, images); arm k's true accuracy is accuracy + gains[k]."""
    bars = ndtri(world.accuracy + np.asarray(gains))
    steep = np.exp(-(ndtri(world.accuracy) ** 2) / 2) / np.sqrt(2 * np.pi)
    of_seed = (world.seed_sd / np.sqrt(2) / steep) ** 2
    own = own_share(world) - of_seed
    shared = 1 - own - of_seed
    arms = len(gains)

    def noise(variance: float, *shape: int) -> np.ndarray:
        draw = rng.standard_normal((repeats, *shape), dtype=np.float32)
        draw *= np.float32(np.sqrt(variance))
        return draw

    levels = noise(own * (1 - world.lasting), arms, seeds, world.images)
    levels += noise(own * world.lasting, arms, 1, world.images)
    levels += noise(shared * world.by_seed, 1, seeds, world.images)
    levels += noise(shared * (1 - world.by_seed), 1, 1, world.images)
    levels += noise(of_seed, arms, seeds, 1)
    return levels > -bars.astype(np.float32)[None, :, None, None]
