"""Figures of a classifier from its predictions, in numpy alone."""

from typing import NamedTuple

import numpy as np


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
