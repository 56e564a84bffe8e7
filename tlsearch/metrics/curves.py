"""Measures of one training's course: losses, accuracies and gradient norms over time."""

import math
from typing import NamedTuple

import numpy as np


def oscillation(losses: np.ndarray) -> float:
    """Sample standard deviation of validation loss over the last third of the epochs.

    losses: (epochs,), one an epoch; the third is rounded up and has at least two epochs. Not a
    number if any of these losses is not finite, or with a single epoch.
    Source: claims.md, A1 and A2.
    """
    losses = np.asarray(losses, dtype=float)
    last = losses[-max(2, math.ceil(len(losses) / 3)) :]
    if len(last) < 2 or not np.isfinite(last).all():
        return math.nan
    return float(last.std(ddof=1))


def epochs_to_share(accuracies: np.ndarray, *, share: float) -> int:
    """The first epoch, counted from 1, whose accuracy is at least `share` of the last one's.

    accuracies: (epochs,), of validation, as shares.
    Source: claims.md, A1 (share 0.95).
    """
    accuracies = np.asarray(accuracies, dtype=float)
    return int(np.argmax(accuracies >= share * accuracies[-1])) + 1


def early_gradient_norm(norms: np.ndarray, *, first: float, planned: int) -> float:
    """The largest gradient norm in the `first` share of all `planned` steps, at least one step.

    norms: (steps,) of those that were taken, before clipping. Infinite if one of them is not
    finite: that is an explosion.
    Source: claims.md, A4 (first 0.1).
    """
    norms = np.asarray(norms, dtype=float)
    early = norms[: max(1, math.ceil(first * planned))]
    return float(early.max()) if np.isfinite(early).all() else math.inf


def generalisation_gap(training: np.ndarray, validation: np.ndarray) -> np.ndarray:
    """Training less validation accuracy, both of any shape, of the same model in evaluation mode.

    Source: claims.md, C3, C4 and C8.
    """
    return np.asarray(np.subtract(training, validation, dtype=float))


def gradient_noise_scale(
    small_norm2: np.ndarray, large_norm2: np.ndarray, *, small: int, large: float
) -> float:
    """The batch size, in images, at which noise and signal of the gradient are equal.

    small_norm2, large_norm2: (batches,), squared norms of gradients at the same weights, of batches
    of `small` and of `large` images; infinitely many stand for all that there are. Both parts are
    estimated without bias and averaged before the division. Infinite where the signal is not above
    0: more batches are needed.
    Source: McCandlish et al. 2018, appendix A.1 (arXiv:1812.06162).
    """
    if not 0 < small < large:
        raise ValueError(f"batches of {small} and {large} images: the first must be smaller")
    low, high = float(np.mean(small_norm2)), float(np.mean(large_norm2))
    share = small / large
    signal = (high - share * low) / (1 - share)
    noise = (low - high) / (1 / small - 1 / large)
    return max(noise, 0.0) / signal if signal > 0 else math.inf


# Figures of a classifier from its predictions, in numpy alone.


class ClassScores(NamedTuple):
    """Precision, recall, F1 and number of images of each class, shape (K,) each.

    A class that is never predicted has precision 0, as in scikit-learn with `zero_division=0`.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Scores of each class from a confusion matrix (K, K)."""
    hits = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=support > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(hits), where=total > 0)
    return ClassScores(precision=precision, recall=recall, f1=f1, support=support)
