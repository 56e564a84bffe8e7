import numpy as np
import pytest

from tlsearch.metrics.sweeps import class_share_distance, estimate_spread, future_error


def test_class_share_distance_by_hand() -> None:
    train, validation = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert class_share_distance([train, validation], num_classes=2) == pytest.approx(0.25)
    test = np.array([2])  # shares nothing
    assert class_share_distance([train, validation, test], num_classes=3) == 1
    assert class_share_distance([train, np.tile(train, 9)], num_classes=2) == 0
    with pytest.raises(ValueError, match="without members"):
        class_share_distance([train, np.array([], dtype=int)], num_classes=2)


def test_future_error() -> None:
    found = future_error(np.array([0.932, 0.8]), np.array([0.81, 0.81]))
    assert found == pytest.approx([0.122, 0.01])


def test_estimate_spread() -> None:
    assert estimate_spread(np.array([0.9, 0.7, 0.8, 1.0])) == pytest.approx(
        [0.05, 0.15, 0.05, 0.15]
    )
