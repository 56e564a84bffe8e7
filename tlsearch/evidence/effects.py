"""Paired effects with intervals over both sources of noise: seeds and test images."""

from typing import NamedTuple

import numpy as np

from tlsearch.evidence.crossed import crossed, half_width

_Z = 1.96


class Effect(NamedTuple):
    """A mean or a mean difference of accuracies with its 95 % interval; all are shares."""

    mean: float
    low: float
    high: float
    num_seeds: int
    num_images: int


def paired_effect(right: np.ndarray, reference: np.ndarray | None) -> Effect:
    """Mean of `right`, or of its difference to `reference`, with a 95 % interval.

    Both are 0/1 of shape (seeds, images): row i of both had the same seed, column j is the same
    test image. With one seed the interval covers the images alone. It ends where values end: at
    0 and 1, for a difference at -1 and 1.
    Source: see `crossed`; Wilson 1927 where all answers are right, or all wrong.
    """
    values = right.astype(float) - (0.0 if reference is None else reference.astype(float))
    found = crossed(values)
    half = half_width(found.variance, found.freedom, level=0.95)
    if reference is None and found.mean in (0.0, 1.0):
        # All right or all wrong: no spread to judge by, so Wilson's interval of a proportion.
        half = _Z**2 / (found.num_images + _Z**2)
    least = 0.0 if reference is None else -1.0
    low, high = max(found.mean - half, least), min(found.mean + half, 1.0)
    return Effect(found.mean, low, high, *values.shape)
