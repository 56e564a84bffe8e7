"""Fréchet distance of two sets of features, sound with fewer images than features."""

import numpy as np


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
