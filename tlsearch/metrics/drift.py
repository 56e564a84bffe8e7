"""How far fine-tuning moved a network, and what its weights look like."""

import math
from collections.abc import Sequence

import numpy as np


def linear_cka(left: np.ndarray, right: np.ndarray) -> float:
    """Linear CKA of two representations of the same images: 1 equal up to rotation and scale.

    left, right: (images, features), of any widths; features are centred here. Not a number if one
    is constant. Drift is 1 less this. With fewer images than features any two representations
    look alike, and outliers move it (Davari et al. 2022, arXiv:2210.16156): pool maps first.
    Source: Kornblith et al. 2019 (arXiv:1905.00414), equation for linear CKA in feature space.
    """
    left, right = (np.asarray(x, dtype=float) for x in (left, right))
    assert len(left) == len(right), "rows must be the same images"
    left, right = left - left.mean(axis=0), right - right.mean(axis=0)
    if min(left.shape[1], right.shape[1]) > len(left):
        # The same numbers from the smaller matrices, images by images.
        left_gram, right_gram = left @ left.T, right @ right.T
        shared = float((left_gram * right_gram).sum())
        sizes = float(np.linalg.norm(left_gram) * np.linalg.norm(right_gram))
    else:
        shared = float(np.linalg.norm(left.T @ right) ** 2)
        sizes = float(np.linalg.norm(left.T @ left) * np.linalg.norm(right.T @ right))
    return shared / sizes if sizes > 0 else math.nan


def relative_distance(weights: Sequence[np.ndarray], start: Sequence[np.ndarray]) -> float:
    """L2 distance of a group's weights from where they started, over the norm of the start.

    Both: the group's tensors in the same order and shapes. Infinite if the start is all 0 and the
    weights are not; 0 if nothing moved.
    Source: claims.md, A3; used as a regulariser by Li et al. 2018 (arXiv:1802.01483).
    """
    moved = math.sqrt(sum(_squares(new - old) for new, old in zip(weights, start, strict=True)))
    size = math.sqrt(sum(map(_squares, start)))
    if moved == 0:
        return 0.0
    return moved / size if size else math.inf


def weight_norm(weights: Sequence[np.ndarray]) -> float:
    """L2 norm of all tensors of a group together. Source: claims.md, C3."""
    return math.sqrt(sum(map(_squares, weights)))


def sparsity(layers: Sequence[np.ndarray], *, below: float) -> float:
    """Share of all weights whose size is less than `below` times the largest of their layer.

    layers: the weight tensors, one a layer; a layer of zeros counts as empty.
    Source: claims.md, C2 (below 1e-3).
    """
    small, count = 0, 0
    for layer in layers:
        sizes = np.abs(layer)
        small += int((sizes < below * sizes.max()).sum()) if sizes.max() > 0 else sizes.size
        count += sizes.size
    return small / count


def _squares(values: np.ndarray) -> float:
    return float(np.sum(np.square(np.asarray(values, dtype=float))))
