import math
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from tlsearch.metrics.transferability import h_score, leep, log_me, nce, rank_agreement

Score = Callable[[np.ndarray, np.ndarray], float]
OF_FEATURES = (log_me, h_score)


def blobs(
    num: int, width: int, classes: int, *, apart: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % classes
    means = rng.normal(size=(classes, width))
    # Features of unlike scales, as a network's are: of equal ones any shrinkage is right.
    scales = np.geomspace(3, 0.3, width)
    return (rng.normal(size=(num, width)) + apart * means[labels]) * scales, labels


def evidence_on_a_grid(features: np.ndarray, target: np.ndarray) -> float:
    """The marginal density itself: y ~ N(0, F Fᵀ/α + I/β), on a fine grid of both precisions."""
    values, vectors = np.linalg.eigh(features @ features.T)
    seen = (vectors.T @ target) ** 2
    alpha, beta = np.geomspace(1e-3, 1e9, 181), np.geomspace(1e-2, 1e4, 241)
    spread = values / alpha[:, None, None] + 1 / beta[:, None]
    found = -(np.log(2 * math.pi * spread) + seen / spread).sum(axis=-1) / 2
    return float(found.max())


@pytest.mark.parametrize(("num", "width"), [(30, 4), (12, 12), (10, 25)])
def test_log_me_is_the_largest_evidence_on_a_grid(num: int, width: int) -> None:
    features, labels = blobs(num, width, 2, apart=0.3)
    found = log_me(features, labels)
    wanted = np.mean([evidence_on_a_grid(features, labels == k) for k in range(2)]) / num
    assert found == pytest.approx(wanted, abs=1e-3)
    assert found >= wanted - 1e-9  # the grid can only fall short of it


def test_log_me_of_one_feature_by_hand() -> None:
    # One image in four is of class 1; the feature is that class's indicator but for one image.
    # With σ = |f|² = 2, (f·y)²/σ = 1/2 and |y|² = 1, E(t) = 1/2 + (1/2) t/(t + 2); at t → ∞ the
    # evidence is that of noise alone, N/2 (log(N / 2π|y|²) - 1), and for N = 4 it is the largest.
    features = np.array([1.0, 1.0, 0.0, 0.0])[:, None]
    target = np.array([1, 0, 0, 0])
    ts = np.geomspace(1e-9, 1e9, 100_001)

    def largest(dot2: float, norm2: float) -> float:
        residual = norm2 - dot2 / 2 + dot2 / 2 * ts / (ts + 2)
        return float((2 * np.log(4 / (2 * math.pi * residual)) - 2 - np.log1p(2 / ts) / 2).max())

    wanted = (largest(1.0, 1.0) + largest(1.0, 3.0)) / 2 / 4
    assert log_me(features, target) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("num", "width"), [(80, 6), (20, 50), (20, 20)])
def test_h_score_is_its_definition_with_scikit_learns_shrinkage(num: int, width: int) -> None:
    features, labels = blobs(num, width, 4, apart=0.5)
    fitted = LedoitWolf().fit(features)
    means = np.stack([features[labels == k].mean(axis=0) for k in range(4)])[labels]
    between = np.cov(means.T, bias=True)
    naive = (1 - fitted.shrinkage_) * np.trace(np.linalg.inv(fitted.covariance_) @ between)
    assert h_score(features, labels) == pytest.approx(naive)
    assert 0.01 < fitted.shrinkage_ < 1


@pytest.mark.parametrize("score", OF_FEATURES)
@pytest.mark.parametrize(("num", "width"), [(60, 8), (20, 40)])
def test_scale_rotation_order_and_names_of_classes_do_not_matter(
    score: Score, num: int, width: int
) -> None:
    features, labels = blobs(num, width, 3, apart=0.5)
    rng = np.random.default_rng(1)
    turned, _ = np.linalg.qr(rng.normal(size=(width, width)))
    found, order = score(features, labels), rng.permutation(num)
    assert score(1e-4 * features, labels) == pytest.approx(found, rel=1e-5)
    assert score(features @ turned, labels) == pytest.approx(found, rel=1e-5)
    assert score(features[order], labels[order]) == pytest.approx(found, rel=1e-5)
    assert score(features, np.array([7, 2, 40])[labels]) == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_constant_features_score_nothing(value: float) -> None:
    features, labels = np.full((10, 4), value), np.arange(10) % 2
    assert h_score(features, labels) == pytest.approx(0, abs=1e-9)


def test_log_me_of_features_that_stand_still_is_that_of_an_intercept() -> None:
    labels = np.arange(10) % 2
    assert log_me(np.full((10, 4), 3.0), labels) == pytest.approx(log_me(np.ones((10, 1)), labels))
    # Nothing at all: noise of variance mean(y²) = 1/2.
    of_noise = -(math.log(2 * math.pi * 0.5) + 1) / 2
    assert log_me(np.zeros((10, 4)), labels) == pytest.approx(of_noise)


@pytest.mark.parametrize("score", OF_FEATURES)
def test_labels_that_features_give_away_still_give_a_number(score: Score) -> None:
    labels = np.arange(12) % 2
    assert math.isfinite(score(np.eye(2)[labels], labels))


def test_leep_by_hand() -> None:
    # P(y, z): from the rows' halves. P(y=0|z=0) = 0.9/1.1 of z's mass 1.1/2, and so on.
    given = np.array([[0.9, 0.1], [0.2, 0.8]])
    likelihood = [
        0.9 * (0.9 / 1.1) + 0.1 * (0.1 / 0.9),
        0.2 * (0.2 / 1.1) + 0.8 * (0.8 / 0.9),
    ]
    assert leep(given, np.array([0, 1])) == pytest.approx(np.log(likelihood).mean())


def test_leep_of_certain_outputs_is_nce() -> None:
    rng = np.random.default_rng(0)
    labels, sources = rng.integers(0, 3, 200), rng.integers(0, 5, 200)
    sources = np.where(rng.random(200) < 0.6, labels, sources)
    assert leep(np.eye(7)[sources], labels) == pytest.approx(nce(sources, labels))


def test_nce_by_hand() -> None:
    # Source class 0: labels 0, 0, 1 of three images; class 1: always label 1, of one.
    found = nce(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    wanted = 3 / 4 * (2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert found == pytest.approx(wanted)


def test_nce_ends_and_names() -> None:
    labels = np.arange(12) % 3
    assert nce(labels, labels) == pytest.approx(0)
    assert nce(np.zeros(12, int), labels) == pytest.approx(-math.log(3))
    sources = np.array([0, 0, 1, 1, 2, 2] * 2)
    assert nce(5 - sources, 10 * labels) == pytest.approx(nce(sources, labels))


def test_rank_agreement_by_hand() -> None:
    # Of 6 pairs 5 agree: τ = (5 - 1) / 6. Ranks differ by 0, 1, 1, 0: ρ = 1 - 6·2 / (4·15).
    found = rank_agreement(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.3, 0.2, 0.9]))
    assert found is not None
    assert (found.kendall, found.spearman) == (pytest.approx(4 / 6), pytest.approx(1 - 12 / 60))
    assert (found.num, found.chance) == (4, pytest.approx(1 / 24))


def test_rank_agreement_leaves_missing_figures_out_and_wants_an_order() -> None:
    scores, values = np.array([1.0, np.nan, 3, 4]), np.array([1.0, 9, 2, np.nan])
    found = rank_agreement(scores, values)
    assert found is not None
    assert (found.num, found.kendall) == (2, 1)
    assert rank_agreement(scores[:2], values[:2]) is None
    equal = rank_agreement(np.ones(3), np.arange(3.0))
    assert equal is not None
    assert math.isnan(equal.kendall)
    assert math.isnan(equal.spearman)
