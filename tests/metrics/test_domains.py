import numpy as np
import pytest

from tlsearch.metrics.domain import kernel_distance


def test_kernel_distance_by_hand() -> None:
    left = np.array([[1.0, 0.0], [2.0, 0.0]])  # (2 / 2 + 1)³ = 8 between them
    right = np.array([[0.0, 2.0], [0.0, 4.0]])  # (8 / 2 + 1)³ = 125
    assert kernel_distance(left, right) == pytest.approx(8 + 125 - 2)  # all cross terms are 1
    # One feature: pairs 1 and 1, cross terms 1, 1, 1 and 3³: below 0, as an unbiased value may be.
    assert kernel_distance([[0.0], [1.0]], [[0.0], [2.0]]) == pytest.approx(2 - 2 * 30 / 4)


def test_kernel_distance_of_one_distribution_is_0_on_average() -> None:
    rng = np.random.default_rng(0)
    drawn = [kernel_distance(*rng.normal(size=(2, 30, 4))) for _ in range(400)]
    error = np.std(drawn) / np.sqrt(len(drawn))
    # With an image's kernel with itself counted, the mean would be about 0.6.
    assert abs(np.mean(drawn)) < 3 * error < 0.05
    moved = [kernel_distance(*rng.normal([[[0.0]], [[1.0]]], size=(2, 30, 4))) for _ in range(100)]
    assert np.mean(moved) > 1


def test_kernel_distance_is_symmetric_and_takes_sets_of_different_sizes() -> None:
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(9, 3)), rng.normal(size=(20, 3))
    assert kernel_distance(left, right) == pytest.approx(kernel_distance(right, left))


def test_kernel_distance_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ValueError, match="same features"):
        kernel_distance(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="two of each"):
        kernel_distance(np.ones((1, 2)), np.ones((4, 2)))
