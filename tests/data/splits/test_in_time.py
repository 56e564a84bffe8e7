"""Splits in time, by hand and beside scikit-learn's."""

import numpy as np
import pytest
from sklearn.model_selection import TimeSeriesSplit

from tests.data.splits.made import config, draw, listed, made
from tlsearch.errors import RequestError


def test_by_hand_with_a_gap() -> None:
    # 12 images, the newest first: 3 tested, 1 left out, 3 validate, 1 left out, 4 train
    data = made(np.arange(12) % 2, times=np.arange(12.0)[::-1])
    asked = config("time", validation=0.25, test=0.25, gap=1)
    assert listed(draw(data, asked)) == [[[8, 9, 10, 11], [4, 5, 6], [0, 1, 2]]]


def test_equal_times_stay_together() -> None:
    #        0  1  2  3  4  5  6  7  8  9 ; borders at 6 and 8 would cut 5-6-7 and 8-9 is clean
    times = [0, 1, 2, 3, 4, 5, 5, 5, 6, 6]
    data = made([0, 1] * 5, times=np.array(times, float))
    (parts,) = draw(data, config("time", validation=0.2, test=0.2))
    assert [rows.tolist() for rows in parts] == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    # Border at 7: the later end is nearer, which is the test part's border.
    (parts,) = draw(data, config("time", validation=0.4, test=0.3))
    assert parts.test.tolist() == [8, 9]
    assert parts.validation.tolist() == [4, 5, 6, 7]


def test_a_tie_on_both_sides_of_the_middle_goes_to_the_earlier_end() -> None:
    times = np.array([0, 1, 2, 3, 4, 4, 5, 6], float)
    data = made([0, 1] * 4, times=times)
    (parts,) = draw(data, config("time", validation=0.3, test=0.375))
    assert parts.test.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(("num", "folds", "gap"), [(40, 4, 0), (41, 3, 2), (100, 5, 7)])
def test_folds_are_scikit_learns(num: int, folds: int, gap: int) -> None:
    rng = np.random.default_rng(num)
    times = rng.permutation(num).astype(float)
    data = made(rng.permutation(np.arange(num) % 2), times=times)
    splits = draw(data, config("time", folds=folds, gap=gap, test=0.2))
    order = np.argsort(times)[: num - round(num * 0.2) - gap]
    theirs = TimeSeriesSplit(n_splits=folds, gap=gap).split(order)
    for parts, (train, validation) in zip(splits, theirs, strict=True):
        np.testing.assert_array_equal(parts.train, np.sort(order[train]))
        np.testing.assert_array_equal(parts.validation, np.sort(order[validation]))


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("seed", range(10))
def test_nothing_that_trains_is_as_late_as_what_is_predicted(seed: int, folds: int | None) -> None:
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 60, 300).astype(float)
    gap = int(rng.integers(0, 10))
    data = made(rng.integers(0, 2, 300), times=times)
    for parts in draw(data, config("time", folds=folds, gap=gap)):
        assert times[parts.train].max() < times[parts.validation].min()
        assert times[parts.validation].max() < times[parts.test].min() or gap
        assert times[parts.validation].max() <= times[parts.test].min()
        assert times[parts.train].max() < times[parts.test].min()


@pytest.mark.parametrize("folds", [None, 4])
def test_a_gap_that_takes_all_is_refused(folds: int | None) -> None:
    data = made([0, 1] * 10, times=np.arange(20.0))
    with pytest.raises(RequestError, match=r"data.split.gap = 9: leaves none of 20 images"):
        draw(data, config("time", gap=9, folds=folds))


def test_one_time_for_all_is_refused() -> None:
    data = made([0, 1] * 10, times=np.zeros(20))
    with pytest.raises(RequestError, match=r"no image of 20 for the .* one time stay in one part"):
        draw(data, config("time"))


def test_missing_times_are_refused() -> None:
    with pytest.raises(RequestError, match=r"strategy = time: the source has no times — "):
        draw(made([0, 1] * 10), config("time"))
    times = np.array([np.nan, np.nan, *range(18)])
    with pytest.raises(RequestError, match="2 images have none of the times"):
        draw(made([0, 1] * 10, times=times), config("time"))
    with pytest.raises(RequestError, match="1 image has none of the times"):
        draw(made([0, 1] * 10, times=times, rows=np.arange(1, 20)), config("time"))
    used = made([0, 1] * 10, times=times, rows=np.arange(2, 20))
    assert len(draw(used, config("time"))) == 1
