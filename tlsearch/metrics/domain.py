"""How far apart sets lie: images in the features of a network, parts of data in class shares."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlsearch.metrics.linear_probe import probe_accuracy


def kernel_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Squared maximum mean discrepancy with the cubic kernel (x·y / d + 1)³, without bias.

    left: (m, d), right: (n, d), features of the same network, at least two images each. 0 on
    average where both come from one distribution, so single values may lie below 0. It depends on
    the features' scale: compare values of one network only.
    Source: kernel inception distance, Bińkowski et al. 2018 (arXiv:1801.01401).
    """
    left, right = _comparable(left, right)
    return _mean_of_pairs(left) + _mean_of_pairs(right) - 2 * float(_kernel(left, right).mean())


def _kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    values: np.ndarray = (left @ right.T / left.shape[1] + 1) ** 3
    return values


def _mean_of_pairs(features: np.ndarray) -> float:
    """Mean kernel of two different images; an image with itself would bias it upwards."""
    kernel = _kernel(features, features)
    count = len(features)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


class Similarity(NamedTuple):
    """`share` 0 … 1, and the two distances that it comes from: of the target, of `far`."""

    share: float
    distance: float
    far_distance: float


def similarity(source: np.ndarray, target: np.ndarray, *, far: np.ndarray) -> Similarity:
    """1 where the target is as the source, 0 where it is as far from it as `far`, or farther.

    All: (images, features) of the source's network; `far` are the source's own images with their
    pixels shuffled: same greys, no shapes. Each feature is taken in standard deviations from the
    source's mean, so that no layer's scale matters; then 1 - distance / far distance, with
    distances of `kernel_distance`. Not a number if the network does not tell `far` from the source.
    """
    mean, deviation = source.mean(axis=0), source.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    near, other, shapeless = ((x - mean) / scale for x in (source, target, far))
    distance, reference = kernel_distance(near, other), kernel_distance(near, shapeless)
    share = min(max(1 - distance / reference, 0.0), 1.0) if reference > 0 else math.nan
    return Similarity(share, distance, reference)


def domain_error(left: np.ndarray, right: np.ndarray, *, seed: int) -> float:
    """Cross-validated error of a linear probe that tells two domains apart: 0 where it recognises
    every image's domain, 0.5 where it guesses.

    left: (m, d), right: (n, d), features of the same network; folds are drawn from `seed`. As many
    images of each are taken, so that both count alike. Not a number with fewer than `FOLDS`.
    """
    left, right = _comparable(left, right)
    draw, count = np.random.default_rng(seed), min(len(left), len(right))
    features = np.concatenate([draw.permutation(side)[:count] for side in (left, right)])
    labels, blocks = np.repeat([0, 1], count), np.arange(2 * count)
    return 1 - probe_accuracy(features, labels, blocks=blocks, seed=seed)


def proxy_a_distance(error: float) -> float:
    """2 (1 - 2 error): 0 where domains cannot be told apart, 2 where they always can.

    Source: Ben-David et al. 2010 (doi:10.1007/s10994-009-5152-4), by the error of one classifier as
    in arXiv:1505.07818.
    """
    return 2 * (1 - 2 * min(error, 0.5))


def frechet_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions with the sets' means and covariances:
    |m - n|² + tr(A + B - 2 (AB)^½).

    left: (m, d), right: (n, d), features of the same network, two images of each at least.
    Covariances are shrunk by Ledoit and Wolf's rule; those of a few images alone are singular and
    their distance grows as images get fewer. It depends on the features' scale: standardise them,
    or compare values of one network only. 0 for equal sets, never below.
    Source: Heusel et al. 2017 (arXiv:1706.08500), equation 6.
    """
    from sklearn.covariance import ledoit_wolf

    left, right = _comparable(left, right)
    shift = left.mean(axis=0) - right.mean(axis=0)
    first, second = ledoit_wolf(left)[0], ledoit_wolf(right)[0]
    traces = float(np.trace(first) + np.trace(second)) - 2 * _trace_of_root(first, second)
    return max(0.0, float(shift @ shift) + traces)


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    """tr((AB)^½) of two covariances. AB has the eigenvalues of A^½ B A^½, which is symmetric: two
    symmetric decompositions, with no complex number that rounding could bring in.
    """
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ second @ root
    eigenvalues = np.linalg.eigvalsh((inner + inner.T) / 2)
    return float(np.sqrt(np.clip(eigenvalues, 0, None)).sum())


def scaled_frechet_distance(
    source: np.ndarray, target: np.ndarray, *, scale: np.ndarray | None = None
) -> float:
    """Fréchet distance per feature, each in standard deviations of the rows of `scale` (rows, F),
    by default those of both sets, so that no network's scale matters.

    source, target: (images, F). Features that are constant there count for nothing. Not a number
    where all are, or with fewer than two images.
    """
    if min(len(source), len(target)) < 2:
        return math.nan
    rows = np.concatenate([source, target]) if scale is None else scale
    deviation = rows.astype(float).std(axis=0)
    alive = deviation > 0
    if not alive.any():
        return math.nan
    sides = [side[:, alive] / deviation[alive] for side in (source, target)]
    return frechet_distance(*sides) / int(alive.sum())


def class_share_distance(parts: Sequence[np.ndarray], *, num_classes: int) -> float:
    """Largest total-variation distance of class shares between any two parts, 0 … 1.

    parts: labels 0 … num_classes - 1 of each part, (members,), none empty. The distance is half
    the sum over classes of the difference in share.
    Source: claims.md, B1 and B2.
    """
    assert all(len(part) for part in parts), "a part without members has no class shares"
    shares = np.stack([np.bincount(part, minlength=num_classes) / len(part) for part in parts])
    return float(np.abs(shares[:, None] - shares[None]).sum(axis=2).max() / 2)


def _comparable(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64: two rows of each at the least, and the same columns."""
    left, right = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    assert left.shape[1] == right.shape[1], "columns must be the same features"
    assert min(len(left), len(right)) >= 2, "at least two images of each"
    return left, right
