"""How far apart two sets of images are, seen through the features of one network."""

import numpy as np


def kernel_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the cubic kernel (x·y / d + 1)³, without bias.

    left: (m, d), right: (n, d), features of the same network, at least two images each. 0 on
    average where both come from one distribution, so single values may lie below 0. It depends on
    the features' scale: compare values of one network only.

    Raises:
        ValueError: fewer than two images, or features of different widths.
    Source: kernel inception distance, Bińkowski et al. 2018 (arXiv:1801.01401).
    """
    left, right = (np.asarray(x, dtype=float) for x in (left, right))
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(f"{left.shape} and {right.shape}: columns must be the same features")
    if min(len(left), len(right)) < 2:
        raise ValueError(f"{len(left)} and {len(right)} images: two of each are needed")
    between = float(_kernel(left, right).mean())
    return _mean_of_pairs(left) + _mean_of_pairs(right) - 2 * between


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    values: np.ndarray = (left @ right.T / left.shape[1] + 1) ** 3
    return values


def _mean_of_pairs(features: np.ndarray) -> float:
    """Mean kernel of two different images; an image with itself would bias it upwards."""
    kernel = _kernel(features, features)
    count = len(features)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))
