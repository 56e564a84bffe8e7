import numpy as np
import pytest
from scipy import stats

from tlsearch.comparison.variance import crossed, half_width, satterthwaite, two_sided_p


def test_components_by_hand() -> None:
    # Seeds 1 and 4, images 3, 1 and 3.5, all 2.5; left over ±(0.5, 0.5, -1), squares 3.
    found = crossed(np.array([[2, 0, 1], [4, 2, 6]]))
    assert found.mean == 2.5
    # Mean squares over 6 values: seeds 4.5 / 2, images 1.75 / 3, the rest 3 / (1 * 2) / 6.
    assert found.variance == pytest.approx(2.25 + 1.75 / 3 - 0.25)
    assert found.seed == pytest.approx((2.25 - 0.25) * 2)
    assert found.image == pytest.approx((1.75 / 3 - 0.25) * 3)
    assert found.rest == pytest.approx(1.5)
    assert found.freedom == pytest.approx(found.variance**2 / (2.25**2 + (1.75 / 3) ** 2 / 2))
    assert (found.num_seeds, found.num_images) == (2, 3)


def test_no_component_is_negative() -> None:
    found = crossed(np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]))
    assert found.seed == 0
    assert found.image == 0
    assert found.variance > 0


def test_one_value_a_seed_is_a_t_test() -> None:
    values = np.array([0.3, -0.1, 0.4, 0.25, 0.0])
    found = crossed(values)
    test = stats.ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.9)
    half = half_width(found.variance, found.freedom, level=0.9)
    assert found.mean - half == pytest.approx(interval.low)
    assert found.mean + half == pytest.approx(interval.high)
    assert two_sided_p(found.mean, found.variance, found.freedom) == pytest.approx(test.pvalue)


def test_equal_values_have_no_spread() -> None:
    assert crossed(np.full(7, 0.1)).variance == 0
    assert crossed(np.zeros((3, 9))).variance == 0
    assert half_width(0.0, 4, level=0.95) == 0
    assert two_sided_p(0.0, 0.0, 4) == 1


def test_one_seed_knows_images_alone_and_one_value_nothing() -> None:
    found = crossed(np.array([[1, 0, 0, 1]]))
    assert found.variance == pytest.approx((1 / 3) / 4)
    assert found.freedom == 3
    assert crossed(np.array([0.5])).variance == np.inf


def test_freedom_of_a_sum() -> None:
    # Equal parts add up; one part alone keeps its own.
    assert satterthwaite([2.0, 2.0], [4, 4]) == pytest.approx(8)
    assert satterthwaite([2.0, 0.0], [4, 9]) == pytest.approx(4)
    assert satterthwaite([0.0], [4]) == np.inf
    assert half_width(1.0, np.inf, level=0.95) == pytest.approx(1.959964, abs=1e-5)
