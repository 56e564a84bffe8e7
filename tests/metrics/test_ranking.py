import math

import numpy as np
import pytest

from tlsearch.metrics.sweeps import rank_agreement


def test_by_hand() -> None:
    # Of 6 pairs 5 agree: τ = (5 - 1) / 6. Ranks differ by 0, 1, 1, 0: ρ = 1 - 6·2 / (4·15).
    found = rank_agreement(np.array([1.0, 2, 3, 4]), np.array([0.1, 0.3, 0.2, 0.9]))
    assert found is not None
    assert found.kendall == pytest.approx(4 / 6)
    assert found.spearman == pytest.approx(1 - 12 / 60)
    assert found.num == 4
    assert found.chance == pytest.approx(1 / 24)


def test_ends_of_the_scale_and_any_rising_function() -> None:
    scores = np.array([-3.0, 0.5, 7.0])
    for values, wanted in ((np.exp(scores), 1), (-scores, -1)):
        found = rank_agreement(scores, values)
        assert found is not None
        assert found[:2] == pytest.approx((wanted, wanted))


def test_missing_figures_are_left_out() -> None:
    scores, values = np.array([1.0, np.nan, 3, 4]), np.array([1.0, 9, 2, np.nan])
    found = rank_agreement(scores, values)
    assert found is not None
    assert (found.num, found.kendall) == (2, 1)
    assert rank_agreement(scores[:2], values[:2]) is None


def test_equal_figures_have_no_order() -> None:
    found = rank_agreement(np.ones(3), np.arange(3.0))
    assert found is not None
    assert math.isnan(found.kendall)
    assert math.isnan(found.spearman)
