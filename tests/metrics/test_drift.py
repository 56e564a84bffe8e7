import numpy as np
import pytest

from tlsearch.metrics.drift import linear_cka, relative_distance, sparsity, weight_norm


def test_cka_by_hand() -> None:
    # Centred single features (-1, 0, 1) and (-1, 2, -1) are orthogonal; with a half of each …
    left = np.array([[0.0], [1.0], [2.0]])
    assert linear_cka(left, np.array([[0.0], [3.0], [0.0]])) == pytest.approx(0)
    # … for one feature each, CKA is the squared correlation: (1, 2, 4) and (0, 1, 2) have 27 / 28.
    assert linear_cka(left, np.array([[1.0], [2.0], [4.0]])) == pytest.approx(27 / 28)


def test_cka_ignores_rotation_scale_and_shift() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(50, 6))
    turned = features @ np.linalg.qr(rng.normal(size=(6, 6))).Q * 3 + 7
    assert linear_cka(features, turned) == pytest.approx(1)
    assert linear_cka(features, features**3) < 0.99


def test_cka_by_images_and_by_features_agree() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(20, 30)), rng.normal(size=(20, 25))
    by_features = np.linalg.norm((left - left.mean(0)).T @ (right - right.mean(0))) ** 2
    for side in (left, right):
        centred = side - side.mean(0)
        by_features /= np.linalg.norm(centred.T @ centred)
    assert linear_cka(left, right) == pytest.approx(by_features)


def test_cka_of_a_constant() -> None:
    assert np.isnan(linear_cka(np.ones((4, 2)), np.eye(4)))


def test_relative_distance_by_hand() -> None:
    start = [np.array([3.0, 0.0]), np.array([[4.0]])]  # norm 5
    moved = [np.array([3.0, 1.0]), np.array([[4.0]])]
    assert relative_distance(moved, start) == pytest.approx(1 / 5)
    assert relative_distance(start, start) == 0
    assert relative_distance([np.ones(2)], [np.zeros(2)]) == np.inf
    assert weight_norm(start) == 5


def test_sparsity_is_judged_layer_by_layer() -> None:
    layers = [np.array([1.0, -0.5, 0.0005, 0.0]), np.array([[0.001, 0.0005]]), np.zeros(2)]
    # 2 of 4 below 0.001; none of the second, whose largest is small; an empty layer counts whole.
    assert sparsity(layers, below=1e-3) == pytest.approx(4 / 8)
