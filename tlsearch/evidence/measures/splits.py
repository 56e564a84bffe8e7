"""How well a way of splitting the data does its work."""

from collections.abc import Sequence

import numpy as np


def class_share_distance(parts: Sequence[np.ndarray], *, num_classes: int) -> float:
    """Largest total-variation distance of class shares between any two parts, 0 … 1.

    parts: labels 0 … num_classes - 1 of each part, (members,), none empty. The distance is half
    the sum over classes of the difference in share.
    Source: claims.md, B1 and B2.
    """
    if any(len(part) == 0 for part in parts):
        raise ValueError("a part without members has no class shares")
    shares = np.stack([np.bincount(part, minlength=num_classes) / len(part) for part in parts])
    between = np.abs(shares[:, None] - shares[None]).sum(axis=2) / 2
    return float(between.max())


def future_error(estimates: np.ndarray, future: np.ndarray) -> np.ndarray:
    """Absolute difference between estimated and later accuracy, both shares of (redraws,).

    Source: claims.md, B3.
    """
    return np.asarray(np.abs(np.subtract(estimates, future, dtype=float)))


def estimate_spread(estimates: np.ndarray) -> np.ndarray:
    """Distance of each estimate from the median of all redraws, (redraws,): a spread in parts.

    One value a redraw, so that two splits' spreads can be compared as means.
    Source: Brown and Forsythe 1974 (doi:10.1080/01621459.1974.10482955).
    """
    estimates = np.asarray(estimates, dtype=float)
    return np.asarray(np.abs(estimates - np.median(estimates)))
