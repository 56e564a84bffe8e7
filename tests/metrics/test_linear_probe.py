"""The linear probe against scikit-learn and by what it must not see; selection of features."""

import math

import numpy as np
import pytest
from scipy.stats import f_oneway
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression

from tlsearch.metrics.linear_probe import (
    FOLDS,
    INVERSE_PENALTY,
    LEAST_DEVIATION,
    fit_probe,
    in_large_classes,
    out_of_fold,
    probe_accuracy,
    select_features,
)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_probe_is_scikit_learns_on_features_as_they_are(classes: int) -> None:
    features, labels = make_blobs(80, n_features=6, centers=classes, random_state=0, cluster_std=4)
    features = features * [1, 3, 1, 1e-3, 1, 1]
    features[:, 2] = 7.0  # constant
    probe = fit_probe(features, labels + 3)
    deviation = features.std(axis=0)
    least = LEAST_DEVIATION * np.sqrt((deviation**2).mean())
    scaled = (features - features.mean(axis=0)) / np.maximum(deviation, least)
    theirs = LogisticRegression(C=INVERSE_PENALTY, max_iter=1000).fit(scaled, labels)
    np.testing.assert_allclose(
        probe.probabilities(features), theirs.predict_proba(scaled), atol=2e-3
    )
    np.testing.assert_allclose(probe.logits(features).mean(axis=1), 0, atol=1e-8)
    assert probe.weight.shape == (classes, 6)
    assert not probe.weight[:, 2].any()
    assert probe.classes.tolist() == list(range(3, 3 + classes))
    right = probe.classes[probe.probabilities(features).argmax(axis=1)] == labels + 3
    assert probe.accuracy(features, labels + 3) == right.mean()


def test_a_weight_counts_as_so_many_images() -> None:
    features, labels = make_blobs(40, centers=3, random_state=0, cluster_std=4)
    times = np.random.default_rng(0).integers(1, 4, 40)
    twice = np.repeat(np.arange(40), times)
    weighted = fit_probe(features, labels, weights=times.astype(float))
    # The scaler is of the images, so the penalty differs a little.
    for ours, theirs in zip(weighted, fit_probe(features[twice], labels[twice]), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.2, atol=0.05)
    assert np.abs(weighted.weight - fit_probe(features, labels).weight).max() > 1e-3


def test_classes_that_are_absent_have_no_row_and_one_class_is_refused() -> None:
    features, labels = make_blobs(40, centers=3, random_state=0)
    labels[labels == 1] = 5
    assert fit_probe(features, labels).classes.tolist() == [0, 2, 5]
    with pytest.raises(ValueError, match="a single class"):
        fit_probe(features, labels * 0)


def test_every_row_is_judged_once_by_a_probe_of_others() -> None:
    features, labels = make_blobs(60, centers=3, random_state=0)
    rows = np.arange(5, 60)
    judged = list(out_of_fold(features, labels, rows, blocks=np.arange(60), seed=0))
    assert len(judged) == FOLDS
    assert sorted(np.concatenate([part for part, _ in judged])) == rows.tolist()
    for part, probabilities in judged:
        assert probabilities.shape == (len(part), 3)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    again = list(out_of_fold(features, labels, rows, blocks=np.arange(60), seed=1))
    assert judged[0][0].tolist() != again[0][0].tolist()


def test_blocks_stay_together_and_classes_are_spread() -> None:
    draw = np.random.default_rng(0)
    blocks = np.repeat(np.arange(60), draw.integers(1, 4, 60))
    labels = (blocks % 3).astype(np.int64)
    features = draw.normal(size=(len(blocks), 2))
    folds = np.empty(len(blocks), int)
    parts = out_of_fold(features, labels, np.arange(len(blocks)), blocks=blocks, seed=0)
    for fold, (part, _) in enumerate(parts):
        folds[part] = fold
    assert all(len(set(folds[blocks == block])) == 1 for block in range(60))
    firsts = np.unique(blocks, return_index=True)[1]
    for label in range(3):
        counts = np.bincount(folds[firsts][labels[firsts] == label], minlength=FOLDS)
        assert counts.max() - counts.min() <= 1


def test_accuracy_of_what_is_clear_and_of_chance() -> None:
    features, labels = make_blobs(200, centers=4, cluster_std=0.1, random_state=0)
    alone = np.arange(200)
    assert probe_accuracy(features, labels, blocks=alone, seed=0) == 1
    shuffled = np.random.default_rng(0).permutation(labels)
    assert probe_accuracy(features, shuffled, blocks=alone, seed=0) < 0.4


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


LABELS = np.repeat([0, 1, 2], 10)


def made(num_features: int = 12) -> np.ndarray:
    features = np.random.default_rng(0).uniform(0, 1, (30, num_features))
    features[:, 3] += 2.0 * LABELS
    features[:, 7] += 0.6 * (LABELS == 1)
    return features


def test_features_are_selected_by_chi2_and_anova() -> None:
    features = made()
    observed = np.array([features[c == LABELS].sum(0) for c in range(3)])
    expected = features.sum(0) / 3  # classes of one size
    chi2 = ((observed - expected) ** 2 / expected).sum(0)
    anova = f_oneway(*(features[c == LABELS] for c in range(3))).statistic
    for k in (1, 2, 5, 12):
        for by, statistic in (("chi2", chi2), ("anova", anova)):
            found = select_features(features, LABELS, by=by, k=k)  # type: ignore[arg-type]
            assert set(np.flatnonzero(found)) == set(np.argsort(statistic)[-k:])


@pytest.mark.parametrize("by", ["chi2", "anova"])
def test_constant_features_come_last(by: str) -> None:
    features = made()
    features[:, :3] = 0.0
    features[:, 4] = 2.5
    found = select_features(features, LABELS, by=by, k=8)  # type: ignore[arg-type]
    assert not found[[0, 1, 2]].any()
    assert found.sum() == 8


@pytest.mark.parametrize(
    ("features", "labels", "k", "message"),
    [
        (made(), LABELS, 13, "there are 12 features"),
        (made() - 0.5, LABELS, 3, "never negative"),
        (made(), LABELS * 0, 3, "a single class"),
    ],
)
def test_what_cannot_be_selected(
    features: np.ndarray, labels: np.ndarray, k: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        select_features(features, labels, by="chi2", k=k)
