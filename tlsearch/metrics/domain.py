"""How far apart two sets of images are, seen through the features of one network."""

import math
from typing import NamedTuple

import numpy as np

from tlsearch.metrics.linear_probe import ridge_probe
from tlsearch.metrics.protocol import DOMAIN_FOLDS, PROBE_PENALTY


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


# How well a classifier tells two domains apart.


def domain_error(left: np.ndarray, right: np.ndarray, *, seed: int) -> float:
    """Cross-validated error of a linear classifier of domains, mean of the two domains' own errors:
    0 where it tells every image's domain, 0.5 where it guesses.

    left: (m, d), right: (n, d), features of the same network, `DOMAIN_FOLDS` images of each at
    least; folds are drawn from `seed`. Both domains count alike, whatever their number of images.

    Raises:
        ValueError: too few images, or features of different widths.
    """
    left, right = (np.asarray(x, dtype=float) for x in (left, right))
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(f"{left.shape} and {right.shape}: columns must be the same features")
    count = min(len(left), len(right))
    if count < DOMAIN_FOLDS:
        raise ValueError(f"{len(left)} and {len(right)} images: {DOMAIN_FOLDS} of each are needed")
    draw = np.random.default_rng(seed)
    # As many of each: a classifier of least squares leans to the larger side.
    sides = [side[draw.permutation(len(side))[:count]] for side in (left, right)]
    features, labels = np.concatenate(sides), np.repeat([0, 1], count)
    fold = np.tile(np.arange(count) % DOMAIN_FOLDS, 2)
    wrong = np.zeros(len(labels))
    for held in range(DOMAIN_FOLDS):
        there, out = fold != held, fold == held
        probe = ridge_probe(features[there], labels[there], num_classes=2, penalty=PROBE_PENALTY)
        answers = (features[out] @ probe.weight + probe.bias).argmax(axis=1)
        wrong[out] = answers != labels[out]
    return float(wrong.mean())


def proxy_a_distance(error: float) -> float:
    """2 (1 - 2 error): 0 where domains cannot be told apart, 2 where they always can.

    Source: Ben-David et al. 2010 (doi:10.1007/s10994-009-5152-4), by the error of one classifier as
    in arXiv:1505.07818.
    """
    return 2 * (1 - 2 * min(error, 0.5))


# Fréchet distance of two sets of features, sound with fewer images than features.


def frechet_distance(left: np.ndarray, right: np.ndarray) -> float:
    """Squared Fréchet distance of the normal distributions with the sets' means and covariances:
    |m - n|² + tr(A + B - 2 (AB)^½).

    left: (m, d), right: (n, d), features of the same network, two images of each at least.
    Covariances are shrunk (`shrunk_covariance`); those of a few images alone are singular and their
    distance grows as images get fewer. It depends on the features' scale: standardise them, or
    compare values of one network only. 0 for equal sets, never below.

    Raises:
        ValueError: fewer than two images, or features of different widths.
    Source: Heusel et al. 2017 (arXiv:1706.08500), equation 6.
    """
    left, right = (np.asarray(x, dtype=float) for x in (left, right))
    if left.ndim != 2 or right.ndim != 2 or left.shape[1] != right.shape[1]:
        raise ValueError(f"{left.shape} and {right.shape}: columns must be the same features")
    shift = left.mean(axis=0) - right.mean(axis=0)
    first, second = shrunk_covariance(left), shrunk_covariance(right)
    traces = float(np.trace(first) + np.trace(second)) - 2 * _trace_of_root(first, second)
    return max(0.0, float(shift @ shift) + traces)


def shrunk_covariance(features: np.ndarray) -> np.ndarray:
    """Covariance (d, d) of features (n, d), drawn towards the sphere of the same total variance by
    the share that makes the expected error least.

    Raises:
        ValueError: fewer than two images.
    Source: Ledoit and Wolf 2004 (doi:10.1016/S0047-259X(03)00096-4).
    """
    count, width = features.shape
    if count < 2:
        raise ValueError(f"{count} images: two are needed")
    centred = features - features.mean(axis=0)
    plain = centred.T @ centred / count
    mean = float(np.trace(plain)) / width
    # In the paper's norm, a mean over features. That of the fourth moments is taken row by row, so
    # that no matrix a image is held.
    spread = float((plain**2).sum()) / width - mean**2
    squares = (centred**2).sum(axis=1)
    noise = (float((squares**2).mean()) - float((plain**2).sum())) / (count * width)
    share = min(max(noise / spread, 0.0), 1.0) if spread > 0 else 0.0
    shrunk: np.ndarray = (1 - share) * plain + share * mean * np.eye(width)
    return shrunk


def _trace_of_root(first: np.ndarray, second: np.ndarray) -> float:
    """tr((AB)^½) of two covariances. AB has the eigenvalues of A^½ B A^½, which is symmetric: two
    symmetric decompositions, with no complex number that rounding could bring in.
    """
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    inner = root @ second @ root
    eigenvalues = np.linalg.eigvalsh((inner + inner.T) / 2)
    return float(np.sqrt(np.clip(eigenvalues, 0, None)).sum())


# How much a target looks like the source to a network that was trained on the source.


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
