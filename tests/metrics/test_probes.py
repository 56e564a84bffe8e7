import numpy as np
import pytest

from tlsearch.metrics.linear_probe import ridge_probe


def test_a_probe_by_hand() -> None:
    # Scaled features -1, -1, 1, 1; targets less their mean -½, -½, ½, ½: slope 2 / (4 + 4 · ¼).
    features, labels = np.array([[2.0], [2.0], [6.0], [6.0]]), np.array([0, 0, 1, 1])
    probe = ridge_probe(features, labels, num_classes=2, penalty=0.25)
    # The feature's own unit is twice the scaled one, and its mean 4.
    assert probe.weight == pytest.approx(np.array([[-0.2, 0.2]]))
    assert probe.bias == pytest.approx(np.array([0.5 + 0.8, 0.5 - 0.8]))
    assert probe.accuracy(features, labels) == 1
    assert probe.accuracy(np.array([[3.9], [3.9], [4.1]]), np.array([0, 1, 1])) == pytest.approx(
        2 / 3
    )


def test_shift_and_scale_change_no_answer_and_a_constant_feature_does_no_harm() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    features = rng.normal(size=(60, 5)) + 2 * np.eye(5)[labels]
    other = np.column_stack([7 * features - 3, np.full(60, 9.0)])
    first, second = (ridge_probe(f, labels, num_classes=3, penalty=0.1) for f in (features, other))
    np.testing.assert_allclose(
        features @ first.weight + first.bias, other @ second.weight + second.bias
    )
    assert first.accuracy(features, labels) > 0.8
    assert not second.weight[5].any()
