"""Selection of features against hand arithmetic."""

import numpy as np
import pytest
from scipy.stats import f_oneway

from tlsearch.metrics.linear_probe import select_features

LABELS = np.repeat([0, 1, 2], 10)


def made(num_features: int = 12) -> np.ndarray:
    draw = np.random.default_rng(0)
    features = draw.uniform(0, 1, (30, num_features))
    features[:, 3] += 2.0 * LABELS
    features[:, 7] += 0.6 * (LABELS == 1)
    return features


def test_chi2_by_hand() -> None:
    features = made()
    observed = np.array([features[c == LABELS].sum(0) for c in range(3)])
    expected = features.sum(0) / 3  # classes of one size
    statistic = ((observed - expected) ** 2 / expected).sum(0)
    for k in (1, 2, 5, 12):
        found = select_features(features, LABELS, by="chi2", k=k)
        assert set(np.flatnonzero(found)) == set(np.argsort(statistic)[-k:])


def test_anova_by_scipy() -> None:
    features = made() - 0.5
    statistic = f_oneway(*(features[c == LABELS] for c in range(3))).statistic
    for k in (1, 2, 5):
        found = select_features(features, LABELS, by="anova", k=k)
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
