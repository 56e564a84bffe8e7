"""How much a target looks like the source to a network that was trained on the source."""

import math
from typing import NamedTuple

import numpy as np

from tlsearch.evidence.measures.domains import kernel_distance


class Similarity(NamedTuple):
    """`share` 0 … 1, and the two distances that it comes from: of the target, of `far`."""

    share: float
    distance: float
    far_distance: float


def similarity(source: np.ndarray, target: np.ndarray, *, far: np.ndarray) -> Similarity:
    """1 where the target is as the source, 0 where it is as far from it as `far`, or farther.

    All: (images, features) of the source's network; `far` are the source's own images with their
    pixels in an order by lot: same greys, no shapes. Each feature is taken in standard deviations
    from the source's mean, so that no layer's scale matters; then 1 - distance / far distance, with
    distances of `kernel_distance`. Not a number if the network does not tell `far` from the source.
    """
    mean, deviation = source.mean(axis=0), source.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    near, other, shapeless = ((x - mean) / scale for x in (source, target, far))
    distance, reference = kernel_distance(near, other), kernel_distance(near, shapeless)
    share = min(max(1 - distance / reference, 0.0), 1.0) if reference > 0 else math.nan
    return Similarity(share, distance, reference)
