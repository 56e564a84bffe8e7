import numpy as np
import pytest

from tlsearch.comparison.verdicts import holm


def test_by_hand() -> None:
    steps = holm([0.01, 0.04, 0.03, 0.005], alpha=0.05)
    # Sorted 0.005 (× 4), 0.01 (× 3), 0.03 (× 2), 0.04 (× 1, but not below the one before).
    assert [s.adjusted for s in steps] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [s.rejected for s in steps] == [True, False, False, True]
    # 0.03 stopped it at 0.05 / 2, and the last one shares that level.
    assert [1 - s.level for s in steps] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_rejection_adjusted_p_and_level_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        ps = rng.random(6) ** 3
        for p, step in zip(ps, holm(list(ps), alpha=0.1), strict=True):
            assert step.rejected == (step.adjusted <= 0.1) == (p <= 1 - step.level)


def test_small_families() -> None:
    assert holm([], alpha=0.05) == []
    (alone,) = holm([0.03], alpha=0.05)
    assert alone.adjusted == 0.03
    assert alone.level == pytest.approx(0.95)
    assert [s.adjusted for s in holm([1.0, 0.9], alpha=0.05)] == [1.0, 1.0]
