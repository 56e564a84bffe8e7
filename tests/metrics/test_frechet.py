import numpy as np
import pytest
from scipy.linalg import sqrtm
from sklearn.covariance import ledoit_wolf

from tlsearch.metrics.domain import frechet_distance, shrunk_covariance


def drawn(images: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(images, width)) @ rng.normal(size=(width, width))


def test_one_feature_by_hand() -> None:
    # One feature needs no shrinking: means 1 and 5, deviations 1 and 3, so 4² + (3 - 1)².
    left, right = np.array([[0.0], [2.0]]), np.array([[2.0], [8.0]])
    assert frechet_distance(left, right) == pytest.approx(16 + 4)


@pytest.mark.parametrize(("images", "width"), [(200, 5), (20, 5), (12, 40), (2, 6)])
def test_covariances_shrink_as_in_scikit_learn(images: int, width: int) -> None:
    features = drawn(images, width)
    np.testing.assert_allclose(shrunk_covariance(features), ledoit_wolf(features)[0], atol=1e-9)


@pytest.mark.parametrize(("images", "width"), [(200, 5), (20, 30)])
def test_the_root_is_that_of_the_product(images: int, width: int) -> None:
    left, right = drawn(images, width), drawn(images, width, seed=1) + 0.5
    first, second = shrunk_covariance(left), shrunk_covariance(right)
    shift = left.mean(axis=0) - right.mean(axis=0)
    root = np.trace(sqrtm(first @ second).real)
    wanted = shift @ shift + np.trace(first) + np.trace(second) - 2 * root
    assert frechet_distance(left, right) == pytest.approx(wanted, rel=1e-6)
    assert frechet_distance(right, left) == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("images", "width"), [(50, 4), (8, 64)])
def test_equal_sets_have_no_distance(images: int, width: int) -> None:
    features = drawn(images, width)
    size = np.trace(shrunk_covariance(features))
    assert 0 <= frechet_distance(features, features) < 1e-9 * size
    constant = np.ones((images, width))
    assert frechet_distance(constant, constant) == 0
    assert frechet_distance(constant, constant + 1) == pytest.approx(width)


def test_a_farther_set_is_farther() -> None:
    rng = np.random.default_rng(0)
    left = rng.normal(size=(60, 20))
    distances = [frechet_distance(left, rng.normal(x, size=(60, 20))) for x in (0, 0.5, 1, 2)]
    assert distances == sorted(distances)
    assert distances[3] == pytest.approx(20 * 4, rel=0.2)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(ValueError, match="same features"):
        frechet_distance(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(ValueError, match="two are needed"):
        frechet_distance(np.ones((1, 2)), np.ones((4, 2)))
