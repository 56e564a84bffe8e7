import numpy as np
import pytest

from tlsearch.data.digits import load_digits_images
from tlsearch.data.splits import class_shares, draw_split
from tlsearch.errors import RequestError
from tlsearch.study.data import SplitConfig

STRATEGIES = ("random", "stratified")


def config(strategy="stratified", validation=0.2, test=0.6, seed=0):
    return SplitConfig(strategy=strategy, validation=validation, test=test, seed=seed)


def draw(labels, split, labels_per_class=None, redraw=0):
    return draw_split(labels, split=split, labels_per_class=labels_per_class, redraw=redraw)


@pytest.fixture(scope="module")
def labels():
    return load_digits_images(8).labels


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_parts_are_sorted_disjoint_and_cover_all(labels, strategy):
    split = draw(labels, config(strategy))
    assert [len(part) for part in split] == [360, 359, 1078]
    for part in split:
        assert (np.diff(part) > 0).all()
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(len(labels)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_same_request_gives_the_same_split(labels, strategy):
    for first, second in zip(
        draw(labels, config(strategy), 10), draw(labels, config(strategy), 10), strict=True
    ):
        np.testing.assert_array_equal(first, second)
    other = draw(labels, config(strategy, seed=1), 10)
    assert not np.array_equal(other.test, draw(labels, config(strategy), 10).test)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_redraw_moves_train_and_validation_and_never_test(labels, strategy):
    own, again = draw(labels, config(strategy)), draw(labels, config(strategy), redraw=1)
    np.testing.assert_array_equal(own.test, again.test)
    assert not np.array_equal(own.validation, again.validation)
    assert not np.array_equal(again.validation, draw(labels, config(strategy), redraw=2).validation)
    np.testing.assert_array_equal(np.sort(np.concatenate(again)), np.arange(len(labels)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_fewer_labels_thin_the_train_part_alone(labels, strategy):
    full, thin = draw(labels, config(strategy), None), draw(labels, config(strategy), 20)
    np.testing.assert_array_equal(full.test, thin.test)
    np.testing.assert_array_equal(full.validation, thin.validation)
    assert set(thin.train) < set(full.train)
    np.testing.assert_array_equal(np.bincount(labels[thin.train]), [20] * 10)


def test_a_redraw_draws_other_labels_too(labels):
    first, second = (draw(labels, config(), 5, redraw) for redraw in (0, 1))
    assert not np.array_equal(first.train, second.train)


def test_the_test_part_ignores_the_size_of_the_validation_part(labels):
    few, many = (draw(labels, config(validation=v)) for v in (0.1, 0.3))
    np.testing.assert_array_equal(few.test, many.test)


def test_stratified_shares_are_as_near_as_rounding_allows(labels):
    counts = np.bincount(labels)
    shares = class_shares(labels, draw(labels, config()), 10)
    for part, fraction in ((shares.train, 0.2), (shares.validation, 0.2), (shares.test, 0.6)):
        assert np.abs(part - counts * fraction).max() < 1.5
    assert np.abs(shares.test - counts * 0.6).max() < 1


def test_shares_by_hand():
    labels = np.repeat([0, 1], [20, 10])
    shares = class_shares(labels, draw(labels, config(validation=0.3, test=0.5)), 2)
    assert [list(part) for part in shares[:3]] == [[4, 2], [6, 3], [10, 5]]
    assert shares.imbalance == 2.0


def test_a_class_that_train_lacks_is_an_infinite_imbalance():
    labels = np.repeat([0, 1], [20, 10])
    shares = class_shares(labels, draw(labels, config()), 3)
    assert shares.train[2] == 0
    assert shares.imbalance == float("inf")


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_in_every_part_even_the_smallest(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(8), [3, 3, 4, 5, 7, 20, 50, 100]))
    split = draw(labels, config(seed=seed, validation=0.1, test=0.3), redraw=seed)
    shares = class_shares(labels, split, 8)
    for part in shares[:3]:
        assert part.min() >= 1
    assert [len(part) for part in split] == [192 - 19 - 58, 19, 58]


def test_a_class_smaller_than_the_parts_is_named():
    labels = np.repeat([0, 1], [20, 2])
    with pytest.raises(
        RequestError, match=r"stratified: class 1 has 2 images; .* 3 parts .* random"
    ):
        draw(labels, config())
    assert len(draw(labels, config("random")).test) == 13


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_more_labels_than_there_are_is_an_error_that_names_class_and_count(labels, strategy):
    rule = r"data\.labels_per_class = 60: class \d has \d+ images in the train part"
    with pytest.raises(RequestError, match=rule):
        draw(labels, config(strategy), 60)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize(
    ("num", "validation", "test", "part"),
    [(4, 0.1, 0.5, "validation"), (4, 0.5, 0.1, "test"), (4, 0.45, 0.45, "train")],
)
def test_an_empty_part_is_an_error(strategy, num, validation, test, part):
    with pytest.raises(RequestError, match=f"no image of {num} for the {part} part"):
        draw(np.arange(num) % 2, config(strategy, validation, test))
