"""Metrics against scikit-learn's, absent and unpredicted classes included."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix as of_sklearn
from sklearn.metrics import precision_recall_fscore_support

from tlsearch.metrics.curves import ClassBalance, class_balance, class_scores, confusion_matrix


@pytest.mark.parametrize(
    ("classes", "labelled", "predicted"), [(2, 2, 2), (5, 5, 5), (6, 4, 6), (6, 6, 3), (7, 3, 2)]
)
def test_counts_and_scores(classes: int, labelled: int, predicted: int) -> None:
    draw = np.random.default_rng(classes)
    for _ in range(10):
        labels = draw.integers(0, labelled, 40)
        guesses = np.where(
            draw.random(40) < 0.5, labels % predicted, draw.integers(0, predicted, 40)
        )
        counts = confusion_matrix(labels, guesses, num_classes=classes)
        every = np.arange(classes)
        assert np.array_equal(counts, of_sklearn(labels, guesses, labels=every))
        expected = precision_recall_fscore_support(labels, guesses, labels=every, zero_division=0.0)
        for found, theirs in zip(class_scores(counts), expected, strict=True):
            np.testing.assert_allclose(found, theirs, atol=1e-12)


def test_by_hand() -> None:
    counts = confusion_matrix(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]), num_classes=3)
    assert counts.tolist() == [[2, 1, 0], [0, 1, 0], [0, 0, 0]]
    scores = class_scores(counts)
    assert scores.precision.tolist() == [1, 0.5, 0]
    assert scores.recall.tolist() == pytest.approx([2 / 3, 1, 0])
    assert scores.f1.tolist() == pytest.approx([0.8, 2 / 3, 0])
    assert scores.support.tolist() == [3, 1, 0]


def test_of_nothing() -> None:
    counts = confusion_matrix(np.array([], dtype=int), np.array([], dtype=int), num_classes=2)
    assert counts.tolist() == [[0, 0], [0, 0]]
    assert class_scores(counts).f1.tolist() == [0, 0]


def test_the_largest_and_the_smallest_class() -> None:
    counts = np.array([[90, 0, 2, 0], [2, 2, 0, 0], [1, 3, 0, 0], [0, 0, 0, 0]])
    # Class 3 has no image; of two smallest, the one that is recognised worse.
    assert class_balance(counts, "abcd") == ClassBalance("a", 0.92, "c", 0.04, 0, "c", 0, 3)
