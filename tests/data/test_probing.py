"""The linear probe of frozen features: folds, and what it is asked about."""

import math

import numpy as np
import pytest
from sklearn.datasets import make_blobs

from tlsearch.metrics.linear_probe import (
    FOLDS,
    _folds,
    fit_probe,
    in_large_classes,
    out_of_fold,
    probe_accuracy,
    probe_layer,
)


def test_blocks_stay_together_and_classes_are_spread() -> None:
    draw = np.random.default_rng(0)
    blocks = np.repeat(np.arange(100), draw.integers(1, 4, 100))
    labels = (blocks % 3).astype(np.int64)
    folds = _folds(labels, blocks, 0)
    for block in range(100):
        assert len(set(folds[blocks == block])) == 1
    firsts = np.unique(blocks, return_index=True)[1]
    for label in range(3):
        counts = np.bincount(folds[firsts][labels[firsts] == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1
    assert (folds != _folds(labels, blocks, 1)).any()


def test_every_row_is_asked_once_by_a_probe_of_others() -> None:
    features, labels = make_blobs(60, centers=3, random_state=0)
    rows = np.arange(5, 60)
    asked = list(out_of_fold(features, labels, rows, blocks=np.arange(60), seed=0))
    assert len(asked) == FOLDS
    assert sorted(np.concatenate([part for part, _ in asked])) == rows.tolist()
    for part, probabilities in asked:
        assert probabilities.shape == (len(part), 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)


def test_accuracy_of_what_is_clear_and_of_what_is_lot() -> None:
    features, labels = make_blobs(200, centers=4, cluster_std=0.1, random_state=0)
    alone = np.arange(200)
    assert probe_accuracy(features, labels, blocks=alone, seed=0) == 1
    by_lot = np.random.default_rng(0).permutation(labels)
    assert probe_accuracy(features, by_lot, blocks=alone, seed=0) < 0.4


def test_copies_do_not_answer_for_one_another() -> None:
    draw = np.random.default_rng(0)  # wide: a probe can learn fifty images by heart
    features, labels = draw.normal(size=(50, 400)), draw.integers(0, 2, 50)
    features, labels, blocks = (np.repeat(x, 4, axis=0) for x in (features, labels, np.arange(50)))
    assert probe_accuracy(features, labels, blocks=np.arange(200), seed=0) > 0.9
    assert probe_accuracy(features, labels, blocks=blocks, seed=0) < 0.7


def test_a_class_too_small_for_the_folds_is_left_out() -> None:
    features, labels = make_blobs([20, 20, 4], random_state=0, cluster_std=0.1)
    assert labels[in_large_classes(labels, np.arange(44), np.arange(44))].max() == 1
    assert probe_accuracy(features, labels, blocks=np.arange(44), seed=0) == pytest.approx(1)
    only = labels != 1
    found = probe_accuracy(features[only], labels[only], blocks=np.arange(24), seed=0)
    assert math.isnan(found)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_probe_as_a_layer_gives_the_probes_probabilities(classes: int) -> None:
    features, labels = make_blobs(80, n_features=6, centers=classes, random_state=0, cluster_std=4)
    features[:, 2] = 7.0  # constant
    layer = probe_layer(features, labels, weights=None)
    assert layer.weight.shape == (classes, 6)
    logits = features @ layer.weight.T + layer.bias
    np.testing.assert_allclose(logits.mean(axis=1), 0, atol=1e-9)
    odds = np.exp(logits)
    expected = fit_probe(features, labels, np.arange(80))(features)
    np.testing.assert_allclose(odds / odds.sum(1, keepdims=True), expected, atol=1e-9)


def test_a_weight_counts_as_so_many_images() -> None:
    features, labels = make_blobs(40, centers=3, random_state=0, cluster_std=4)
    times = np.random.default_rng(0).integers(1, 4, 40)
    twice = np.repeat(np.arange(40), times)
    weighted = probe_layer(features, labels, weights=times.astype(float))
    repeated = probe_layer(features[twice], labels[twice], weights=None)
    # The scaler is of the images, so the penalty differs a little.
    for ours, theirs in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.2, atol=0.05)
    plain = probe_layer(features, labels, weights=None)
    assert np.abs(weighted.weight - plain.weight).max() > 1e-3


def test_classes_that_are_absent_have_no_row() -> None:
    features, labels = make_blobs(40, centers=3, random_state=0)
    labels[labels == 1] = 5
    assert probe_layer(features, labels, weights=None).classes.tolist() == [0, 2, 5]
    with pytest.raises(ValueError, match="a single class"):
        probe_layer(features, labels * 0, weights=None)
