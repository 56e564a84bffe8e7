"""Means over seeds crossed with test images: variance components and Student intervals.

Value (i, j) = mean + seed i + image j + rest. The mean's variance is then
seed / S + image / N + rest / (S N), each part estimated without bias from the mean squares of a
two-way layout; Satterthwaite's degrees of freedom make it a t interval. Percentile and BCa
bootstraps are too narrow where few seeds carry the noise (0.75 instead of 0.95 with 3, 0.87 with 8:
benchmarks/coverage.py).

Source: Satterthwaite 1946 (doi:10.2307/3002019); Searle, Casella, McCulloch, Variance Components.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtr, stdtrit


class Crossed(NamedTuple):
    """A mean over seeds and images with the variances of its parts, in squared units of a value.

    `seed`, `image` and `rest` are variances between seeds, between images and of what is left;
    none is negative. `variance` and `freedom` are those of the mean; with one seed they are of the
    images alone, and with values of one a seed (`num_images` 0) of the seeds alone.
    """

    mean: float
    variance: float
    freedom: float
    seed: float
    image: float
    rest: float
    num_seeds: int
    num_images: int


def crossed(values: np.ndarray) -> Crossed:
    """The mean of (seeds, images) or of (seeds,) values and its components."""
    values = np.asarray(values, dtype=float)
    if values.ndim == 1:
        num_seeds = len(values)
        spread = float(values.var(ddof=1)) if num_seeds > 1 else np.inf
        mean = float(values.mean()) if num_seeds else np.nan
        # Equal values leave a variance of rounding errors behind.
        spread = 0.0 if num_seeds > 1 and np.ptp(values) == 0 else spread
        freedom = float(num_seeds - 1)
        return Crossed(mean, spread / max(num_seeds, 1), freedom, spread, 0.0, 0.0, num_seeds, 0)
    num_seeds, num_images = values.shape
    by_seed, by_image = values.mean(axis=1), values.mean(axis=0)
    mean = float(by_seed.mean())
    images = _variance(by_image) / num_images
    if num_seeds == 1:
        return Crossed(
            mean, images, num_images - 1.0, np.nan, images * num_images, 0.0, 1, num_images
        )
    seeds = _variance(by_seed) / num_seeds
    left = np.mean(values**2) - np.mean(by_seed**2) - np.mean(by_image**2) + mean**2
    rest = max(float(left), 0.0) / ((num_seeds - 1) * (num_images - 1))
    # Both mean squares hold the rest once, so it is taken off once; never below either alone.
    variance = max(seeds + images - rest, seeds, images)
    freedom = satterthwaite([seeds, images], [num_seeds - 1.0, num_images - 1.0], variance)
    return Crossed(
        mean,
        variance,
        freedom,
        max(seeds - rest, 0.0) * num_seeds,
        max(images - rest, 0.0) * num_images,
        rest * num_seeds * num_images,
        num_seeds,
        num_images,
    )


def satterthwaite(
    parts: Sequence[float], freedoms: Sequence[float], variance: float | None = None
) -> float:
    """Degrees of freedom of a sum of variances, given those of its parts; infinite for a sum of 0.

    `variance` stands for the sum where something was taken off it.
    """
    total = sum(parts) if variance is None else variance
    below = sum(part**2 / freedom for part, freedom in zip(parts, freedoms, strict=True))
    return float(total**2 / below) if below > 0 else np.inf


def half_width(variance: float, freedom: float, *, level: float) -> float:
    """Half the t interval of a mean whose variance was estimated; `level` such as 0.95."""
    if variance == 0:
        return 0.0
    return float(stdtrit(min(freedom, 1e9), (1 + level) / 2) * np.sqrt(variance))


def two_sided_p(mean: float, variance: float, freedom: float) -> float:
    """Student's p of a mean against 0; 1 for a mean of exactly 0."""
    if mean == 0 or not np.isfinite(variance):
        return 1.0
    if variance == 0:
        return 0.0
    return float(2 * stdtr(min(freedom, 1e9), -abs(mean) / np.sqrt(variance)))


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
