"""Parts that the source names, and those that it lacks."""

import numpy as np

from tests.data.splits.made import config, draw, listed, made
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION
from tlsearch.data.split_facts import describe

LABELS = np.arange(100) % 2
ROWS = np.arange(100)


def parts_of(train: int, validation: int, test: int) -> np.ndarray:
    return np.repeat([TRAIN, VALIDATION, TEST], [train, validation, test]).astype(np.int8)


def test_all_three_are_kept() -> None:
    data = made(LABELS, parts=parts_of(50, 30, 20))
    expected = [[ROWS[:50].tolist(), ROWS[50:80].tolist(), ROWS[80:].tolist()]]
    for redraw in (0, 1):
        assert listed(draw(data, config("given"), redraw=redraw)) == expected


def test_a_missing_validation_part_is_drawn_from_train() -> None:
    data = made(LABELS, parts=parts_of(80, 0, 20))
    (own,), (again,) = (draw(data, config("given"), redraw=i) for i in (0, 1))
    assert own.test.tolist() == again.test.tolist() == ROWS[80:].tolist()
    assert (len(own.train), len(own.validation)) == (60, 20)
    assert np.bincount(LABELS[own.validation]).tolist() == [10, 10]
    assert own.validation.tolist() != again.validation.tolist()


def test_a_missing_test_part_is_drawn_from_train() -> None:
    data = made(LABELS, parts=parts_of(70, 30, 0))
    (own,), (again,) = (draw(data, config("given"), redraw=i) for i in (0, 1))
    assert own.validation.tolist() == ROWS[70:].tolist()
    assert len(own.test) == 20
    assert own.test.max() < 70
    assert listed((own,)) == listed((again,))


def test_what_is_drawn_keeps_near_duplicates_together() -> None:
    clusters = np.arange(100) // 4
    (found,) = draw(made(LABELS, parts=parts_of(80, 0, 20), clusters=clusters), config("given"))
    assert not set(clusters[found.train]) & set(clusters[found.validation])


def test_folds_divide_what_is_not_tested() -> None:
    data = made(LABELS, parts=parts_of(50, 30, 20))
    splits = draw(data, config("given", folds=4))
    held = np.sort(np.concatenate([parts.validation for parts in splits]))
    assert held.tolist() == ROWS[:80].tolist()
    assert {tuple(np.bincount(LABELS[p.validation])) for p in splits} == {(10, 10)}


def test_images_without_a_part_train() -> None:
    named = parts_of(50, 30, 20)
    named[:3] = -1
    data = made(LABELS, parts=named)
    (found,) = splits = draw(data, config("given"))
    assert found.train.tolist() == ROWS[:50].tolist()
    *_, note = describe(data, splits, split=config("given")).notes
    assert note == "3 images without a given part are taken as training images"
