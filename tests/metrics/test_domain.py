import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.covariance import ledoit_wolf

from tlsearch.metrics.domain import (
    class_share_distance,
    domain_error,
    frechet_distance,
    kernel_distance,
    proxy_a_distance,
    scaled_frechet_distance,
    similarity,
)


def normal(at: float = 0.0, *, images: int = 50, width: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(at, size=(images, width))


def test_kernel_distance_by_hand() -> None:
    left = np.array([[1.0, 0.0], [2.0, 0.0]])  # (2 / 2 + 1)³ = 8 between them
    right = np.array([[0.0, 2.0], [0.0, 4.0]])  # (8 / 2 + 1)³ = 125
    assert kernel_distance(left, right) == pytest.approx(8 + 125 - 2)  # all cross terms are 1
    # One feature: pairs 1 and 1, cross terms 1, 1, 1 and 3³: below 0, as an unbiased value may be.
    assert kernel_distance([[0.0], [1.0]], [[0.0], [2.0]]) == pytest.approx(2 - 2 * 30 / 4)
    first, second = normal(images=9), normal(images=20, seed=1)
    assert kernel_distance(first, second) == pytest.approx(kernel_distance(second, first))


def test_kernel_distance_of_one_distribution_is_0_on_average() -> None:
    rng = np.random.default_rng(0)
    drawn = [kernel_distance(*rng.normal(size=(2, 30, 4))) for _ in range(400)]
    error = np.std(drawn) / np.sqrt(len(drawn))
    # With an image's kernel with itself counted, the mean would be about 0.6.
    assert abs(np.mean(drawn)) < 3 * error < 0.05


def test_similarity_by_hand() -> None:
    # Kernel (xy + 1)³. Within the source 0; target 1000, to the source (64 - 8) / 2 = 28;
    # far 26³ = 17576, to the source (6³ - 4³) / 2 = 76.
    source, target, far = (np.array(x, float)[:, None] for x in ([-1, 1], [3, 3], [5, 5]))
    found = similarity(source, target, far=far)
    assert found.distance == pytest.approx(1000 - 2 * 28)
    assert found.far_distance == pytest.approx(17576 - 2 * 76)
    assert found.share == pytest.approx(1 - 944 / 17424)


def test_similarity_has_ends_and_no_scale() -> None:
    source, again, far, farther = (
        normal(x, images=400, seed=i) for i, x in enumerate((0, 0, 2, 4))
    )
    assert similarity(source, again, far=far).share == pytest.approx(1, abs=0.02)
    assert similarity(source, farther, far=far).share == 0
    assert np.isnan(similarity(source, far, far=source).share)
    scale, shift = np.array([1e-3, 1, 7, 1e4]), np.arange(4.0)
    near = normal(0.5, seed=5)
    scaled = similarity(*(x * scale + shift for x in (source, near)), far=far * scale + shift)
    assert scaled == pytest.approx(similarity(source, near, far=far))


def test_domain_error_of_what_is_apart_of_one_domain_and_of_the_best_cut() -> None:
    assert domain_error(normal(images=40), normal(20, images=60), seed=0) == 0
    rng = np.random.default_rng(0)
    same = [domain_error(*rng.normal(size=(2, 50, 4)), seed=0) for _ in range(10)]
    assert np.mean(same) == pytest.approx(0.5, abs=0.08)
    # Two normal domains d apart overlap by Φ(-d / 2).
    left, right = rng.normal(size=(1500, 1)), rng.normal(2, size=(1500, 1))
    assert domain_error(left, right, seed=0) == pytest.approx(0.1587, abs=0.02)
    # A classifier that leaned to the larger side would be right on all but 20 of 520.
    unequal = [
        domain_error(rng.normal(size=(20, 2)), rng.normal(size=(500, 2)), seed=seed)
        for seed in range(12)
    ]
    assert np.mean(unequal) == pytest.approx(0.5, abs=0.1)
    assert np.isnan(domain_error(normal(images=4), normal(images=9), seed=0))


def test_proxy_a_distance() -> None:
    assert [proxy_a_distance(e) for e in (0.0, 0.25, 0.5, 0.6)] == [2.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(("images", "width"), [(200, 5), (20, 30)])
def test_frechet_distance_is_its_definition_with_scikit_learns_covariance(
    images: int, width: int
) -> None:
    mix = np.random.default_rng(2).normal(size=(width, width))
    left = normal(images=images, width=width) @ mix
    right = normal(images=images, width=width, seed=1) @ mix + 0.5
    first, second = ledoit_wolf(left)[0], ledoit_wolf(right)[0]
    shift = left.mean(axis=0) - right.mean(axis=0)
    root = np.trace(sqrtm(first @ second).real)
    wanted = shift @ shift + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(left, right) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(right, left) == pytest.approx(wanted, rel=1e-6)
    assert 0 <= frechet_distance(left, left) < 1e-9 * np.trace(first)


def test_frechet_distance_by_hand() -> None:
    # One feature needs no shrinking: means 1 and 5, deviations 1 and 3, so 4² + (3 - 1)².
    left, right = np.array([[0.0], [2.0]]), np.array([[2.0], [8.0]])
    assert frechet_distance(left, right) == pytest.approx(16 + 4)
    constant = np.ones((8, 3))
    assert frechet_distance(constant, constant + 1) == pytest.approx(3)


def test_scaled_frechet_distance_has_no_scale_and_leaves_constants_out() -> None:
    left, right = normal(images=60), normal(0.7, images=60, seed=1)
    found = scaled_frechet_distance(left, right)
    scale = np.array([1e-3, 1, 7, 1e4])
    wide = [np.column_stack([side * scale, np.ones(60)]) for side in (left, right)]
    assert scaled_frechet_distance(*wide) == pytest.approx(found)
    deviation = np.concatenate([left, right]).std(axis=0)
    assert found == pytest.approx(frechet_distance(left / deviation, right / deviation) / 4)
    # Twice the spread to compare with is a quarter of the squared distance.
    both = np.concatenate([left, right])
    assert scaled_frechet_distance(left, right, scale=2 * both) == pytest.approx(found / 4)
    assert np.isnan(scaled_frechet_distance(np.ones((5, 2)), np.ones((5, 2))))
    assert np.isnan(scaled_frechet_distance(left[:1], right))


def test_class_share_distance_by_hand() -> None:
    train, validation = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 1])
    assert class_share_distance([train, validation], num_classes=2) == pytest.approx(0.25)
    test = np.array([2])  # shares nothing
    assert class_share_distance([train, validation, test], num_classes=3) == 1
    assert class_share_distance([train, np.tile(train, 9)], num_classes=2) == 0
