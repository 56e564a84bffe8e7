"""The reliability diagram against hand arithmetic and scikit-learn."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve

from tlsearch.report.context import Scores
from tlsearch.report.figures import calibration


def scores(sure: np.ndarray, right: np.ndarray) -> Scores:
    """Answers of this probability, of three classes the first; labels by whether it is right."""
    rest = (1 - sure) / 2
    probabilities = np.stack([sure, rest, rest], axis=1)
    return Scores("m", ("a", "b", "c"), np.where(right, 0, 1), probabilities)


def test_bins_and_error_by_hand() -> None:
    sure = np.array([0.95, 0.95, 0.95, 0.95, 0.5, 0.5])
    right = np.array([True, True, True, False, True, False])
    found = calibration.calibration_of(scores(sure, right), seed=0)
    low, high = found.bins
    assert (low.images, low.confidence, low.accuracy) == (2, 0.5, 0.5)
    assert (high.images, high.confidence, high.accuracy) == (4, pytest.approx(0.95), 0.75)
    assert low.low < 0.5 <= low.high
    assert found.ece == pytest.approx(4 / 6 * 0.2)
    assert (found.accuracy, found.confidence) == (pytest.approx(4 / 6), pytest.approx(0.8))
    # Two images that are right half the time: none, one or both are.
    assert (low.expected_low, low.expected_high) == (0.0, 1.0)


def test_bins_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    sure = np.concatenate([rng.uniform(0.34, 1, 3000), [1.0, 0.4, 0.6]])
    right = rng.random(len(sure)) < sure**2
    found = calibration.calibration_of(scores(sure, right), seed=0)
    true, promised = calibration_curve(right, sure, n_bins=calibration.NUM_BINS)
    assert [b.accuracy for b in found.bins] == pytest.approx(true.tolist())
    assert [b.confidence for b in found.bins] == pytest.approx(promised.tolist())
    assert sum(b.images for b in found.bins) == found.images == 3003
    assert found.is_off
    assert "promises more than it keeps" in calibration.caption(found)


def test_true_probabilities_are_off_by_no_more_than_chance() -> None:
    rng = np.random.default_rng(2)
    flagged = 0
    for seed in range(40):
        sure = rng.uniform(0.34, 1, 400)
        found = calibration.calibration_of(scores(sure, rng.random(400) < sure), seed=seed)
        assert found.true_mean > 0.01, "a binned error is never 0"
        flagged += found.is_off
    assert flagged <= 6  # one in twenty is expected; seven or more come once in 300


def test_the_mean_of_true_probabilities_is_known_for_one_bin() -> None:
    # 100 images at 0.5: the share right is off by E|B - 50| / 100 with B binomial, 0.0398.
    found = calibration.calibration_of(scores(np.full(100, 0.5), np.arange(100) < 50), seed=0)
    assert found.true_mean == pytest.approx(0.0398, abs=0.005)
    assert found.ece == pytest.approx(0.0)
    assert not found.is_off
    (only,) = found.bins
    assert only.expected_low == pytest.approx(0.40, abs=0.02)
    assert only.expected_high == pytest.approx(0.60, abs=0.02)


def test_the_drawing_holds_each_bin_once_above_its_count() -> None:
    sure = np.array([0.95, 0.95, 0.5, 0.5, 0.5])
    found = calibration.calibration_of(scores(sure, sure > 0.9), seed=0)
    promised, _, winner, images = calibration.draw(found).data
    assert promised.name == "as promised"
    assert list(winner.x) == pytest.approx([50, 95])
    assert list(winner.y) == pytest.approx([0, 100])
    assert list(images.y) == [3, 2]
    assert "right 0.0\u00a0%, 3 images" in calibration.alt(found)
