"""A linear classifier on features that stand still, in closed form."""

from typing import NamedTuple

import numpy as np


class LinearProbe(NamedTuple):
    """Scores are features @ weight + bias; weight (features, classes), bias (classes,)."""

    weight: np.ndarray
    bias: np.ndarray

    def accuracy(self, features: np.ndarray, labels: np.ndarray) -> float:
        """Share of right answers on features (images, features) with labels (images,)."""
        scores = np.asarray(features, dtype=float) @ self.weight + self.bias
        return float((scores.argmax(axis=1) == labels).mean())


def ridge_probe(
    features: np.ndarray, labels: np.ndarray, *, num_classes: int, penalty: float
) -> LinearProbe:
    """The least squares fit of one-hot labels, shrunk by `penalty` per image.

    features: (images, features), brought to mean 0 and variance 1 here; those that are constant
    count for nothing. labels: (images,) 0 … num_classes - 1. The same input gives the same probe.
    Source: ridge regression, Hoerl and Kennard 1970 (doi:10.1080/00401706.1970.10488634).
    """
    features = np.asarray(features, dtype=float)
    mean, std = features.mean(axis=0), features.std(axis=0)
    scale = np.divide(1, std, out=np.zeros_like(std), where=std > 0)
    scaled = (features - mean) * scale
    targets = np.eye(num_classes)[labels]
    shares = targets.mean(axis=0)
    penalties = penalty * len(features) * np.eye(features.shape[1])
    weight = np.linalg.solve(scaled.T @ scaled + penalties, scaled.T @ (targets - shares))
    weight = weight * scale[:, None]
    return LinearProbe(weight, shares - mean @ weight)
