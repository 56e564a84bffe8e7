"""Paired effects with intervals over both sources of noise: seeds and test images."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 4000
_CHUNK = 500


class Effect(NamedTuple):
    """A mean or a mean difference of accuracies with its 95 % interval; all are shares."""

    mean: float
    low: float
    high: float
    num_seeds: int
    num_images: int


def paired_effect(right: np.ndarray, reference: np.ndarray | None, *, seed: int) -> Effect:
    """Mean of `right`, or of its difference to `reference`, with a 95 % percentile interval.

    Both are 0/1 of shape (seeds, images): row i of both had the same seed, column j is the same
    test image. Seeds and images are resampled together. With one seed the interval covers the
    images alone.
    Source: crossed bootstrap, Owen 2007 (arXiv:0711.2140).
    """
    values = right.astype(float) - (0.0 if reference is None else reference.astype(float))
    num_seeds, num_images = values.shape
    means = []
    for chunk in range(0, RESAMPLES, _CHUNK):
        rng = np.random.default_rng((seed, chunk))
        rows = _resample_counts(rng, num_seeds)
        columns = _resample_counts(rng, num_images)
        means.append(((rows @ values) * columns).sum(axis=1) / values.size)
    low, high = np.quantile(np.concatenate(means), [0.025, 0.975])
    return Effect(float(values.mean()), float(low), float(high), num_seeds, num_images)


def _resample_counts(rng: np.random.Generator, size: int) -> np.ndarray:
    """How often each of `size` members is drawn in `_CHUNK` resamples, (resamples, size)."""
    drawn = rng.integers(size, size=(_CHUNK, size))
    drawn += np.arange(_CHUNK)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=_CHUNK * size).reshape(_CHUNK, size)
