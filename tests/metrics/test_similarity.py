import math

import numpy as np
import pytest

from tlsearch.metrics.domain import similarity

SOURCE, TARGET, FAR = (np.array(x, float)[:, None] for x in ([-1, 1], [3, 3], [5, 5]))


def test_by_hand() -> None:
    # Kernel (xy + 1)³. Within the source 0; target 1000, to the source (64 - 8) / 2 = 28;
    # far 26³ = 17576, to the source (6³ - 4³) / 2 = 76.
    found = similarity(SOURCE, TARGET, far=FAR)
    assert found.distance == pytest.approx(1000 - 2 * 28)
    assert found.far_distance == pytest.approx(17576 - 2 * 76)
    assert found.share == pytest.approx(1 - 944 / 17424)


def test_the_scale_of_features_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    source, target, far = (rng.normal(at, 1, (50, 6)) for at in (0, 1, 3))
    scale, shift = np.array([1e-3, 1, 7, 50, 1, 1e4]), np.arange(6.0)
    found = similarity(source, target, far=far)
    other = similarity(*(x * scale + shift for x in (source, target)), far=far * scale + shift)
    assert found == pytest.approx(other)
    assert 0.5 < found.share < 1


def test_ends_of_the_scale() -> None:
    rng = np.random.default_rng(0)
    source, again, far, farther = (rng.normal(at, 1, (400, 4)) for at in (0, 0, 2, 4))
    assert similarity(source, again, far=far).share == pytest.approx(1, abs=0.02)
    assert similarity(source, far, far=far).share == 0
    assert similarity(source, farther, far=far).share == 0


def test_features_that_rest_on_the_source_count_as_they_are() -> None:
    still = np.zeros((2, 1))
    found = similarity(np.hstack([SOURCE, still]), np.hstack([TARGET, still]), far=FAR.repeat(2, 1))
    assert math.isfinite(found.share)


def test_a_network_that_sees_no_shapes_measures_nothing() -> None:
    rng = np.random.default_rng(1)
    source = rng.normal(size=(40, 3))
    assert math.isnan(similarity(source, source + 1, far=source).share)
