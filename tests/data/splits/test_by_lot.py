"""Random and stratified draws, and what stays as it was before there were others."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from tests.data.splits.made import config, draw, listed, made
from tlsearch.data.dataset import ImageSet
from tlsearch.data.sources import load_digits_images
from tlsearch.data.splits import allocate

STRATEGIES = ("random", "stratified")


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_digits_images(8)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_sizes_of_the_parts(digits: ImageSet, strategy: str) -> None:
    (parts,) = draw(digits, config(strategy, test=0.6))
    assert [len(rows) for rows in parts] == [360, 359, 1078]


def test_the_test_part_ignores_the_size_of_the_validation_part(digits: ImageSet) -> None:
    (few,), (many,) = (draw(digits, config("stratified", validation=v)) for v in (0.1, 0.3))
    np.testing.assert_array_equal(few.test, many.test)


def test_clusters_of_one_image_change_nothing(digits: ImageSet) -> None:
    alone = replace(digits, clusters=np.arange(len(digits.labels)) + 5)
    for strategy in STRATEGIES:
        asked = config(strategy, test=0.6)
        assert listed(draw(alone, asked)) == listed(draw(digits, asked))


def test_shares_by_hand() -> None:
    labels = np.repeat([0, 1], [20, 10])
    (parts,) = draw(made(labels), config("stratified", validation=0.3, test=0.5))
    assert [np.bincount(labels[rows]).tolist() for rows in parts] == [[4, 2], [6, 3], [10, 5]]


def test_stratified_shares_are_as_near_as_rounding_allows(digits: ImageSet) -> None:
    counts = np.bincount(digits.labels)
    (parts,) = draw(digits, config("stratified", test=0.6))
    for rows, fraction in zip(parts, (0.2, 0.2, 0.6), strict=True):
        assert np.abs(np.bincount(digits.labels[rows]) - counts * fraction).max() < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_in_every_part_even_the_smallest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(8), [3, 3, 4, 5, 7, 20, 50, 100]))
    asked = config("stratified", seed=seed, validation=0.1, test=0.3)
    (parts,) = draw(made(labels), asked, redraw=seed)
    for rows in parts:
        assert np.bincount(labels[rows], minlength=8).min() >= 1
    assert [len(rows) for rows in parts] == [192 - 19 - 58, 19, 58]


@pytest.mark.parametrize("seed", range(5))
def test_stratified_folds_are_as_even_as_scikit_learns(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, 203)
    splits = draw(made(labels), config("stratified", seed=seed, folds=5, test=0.3))
    rest = np.setdiff1d(np.arange(203), splits[0].test)
    theirs = StratifiedKFold(5, shuffle=True, random_state=seed).split(rest, labels[rest])
    expected = [np.bincount(labels[rest[rows]], minlength=5) for _, rows in theirs]
    found = [np.bincount(labels[parts.validation], minlength=5) for parts in splits]
    np.testing.assert_array_equal(np.ptp(found, axis=0), np.ptp(expected, axis=0))
    assert np.ptp(np.sum(found, axis=1)) <= 1


def test_stratified_group_folds_are_no_less_even_than_scikit_learns() -> None:
    def spread(folds: list[np.ndarray], labels: np.ndarray) -> float:
        return float(np.std([np.bincount(labels[rows]) for rows in folds], axis=0).sum())

    ours, theirs = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        groups = rng.integers(0, 40, 400)
        labels = (rng.random(400) < rng.random(40)[groups]).astype(int)
        data = made(labels, groups=groups)
        splits = draw(data, config("stratified_group", seed=seed, folds=4, test=0.2))
        rest = np.setdiff1d(np.arange(400), splits[0].test)
        splitter = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
        folds = [rest[rows] for _, rows in splitter.split(rest, labels[rest], groups[rest])]
        theirs.append(spread(folds, labels))
        ours.append(spread([parts.validation for parts in splits], labels))
    assert np.mean(ours) <= np.mean(theirs)


def test_blocks_by_hand() -> None:
    clusters, groups = [0, 0, 1, 2, 3, -1, -1], [7, 8, 8, 9, 10, 11, 12]
    data = made([0, 1] * 3 + [0], clusters=clusters, groups=groups)
    assert data.blocks(by_group=True).tolist() == [0, 0, 0, 3, 4, 5, 6]
    assert data.blocks(by_group=False).tolist() == [0, 0, 2, 3, 4, 5, 6]
    assert made([0, 1, 0]).blocks(by_group=True).tolist() == [0, 1, 2]


def test_a_long_chain_is_one_block() -> None:
    first = np.arange(101) // 2
    second = (np.arange(101) + 1) // 2
    data = made(np.arange(101) % 2, clusters=first, groups=second)
    assert not data.blocks(by_group=True).any()


@pytest.mark.parametrize("seed", range(5))
def test_groups_come_within_half_a_group(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 30, 12)
    num = int(rng.integers(sizes.max(), sizes.sum() // 2))
    wished = np.array([[sizes.sum() - num], [num]])
    blocks = [((0, n),) for n in sizes.tolist()]
    order = rng.permutation(12)
    part = allocate(blocks, wished, least=(1, 1), by_stratum=False, order=order)
    assert abs(sizes[np.array(part) == 1].sum() - num) <= sizes.max() / 2


def test_every_group_may_be_tested() -> None:
    groups = np.repeat(np.arange(6), [2, 4, 6, 8, 10, 12])
    data = made(np.arange(42) % 2, groups=groups)
    tested = {
        g
        for seed in range(30)
        for g in groups[draw(data, config("group", seed=seed, test=0.3))[0].test].tolist()
    }
    assert tested == set(range(6))


def test_folds_by_hand() -> None:
    blocks = [((0, n),) for n in (6, 3, 2, 1)]
    wished = np.array([[6], [6]])
    part = allocate(blocks, wished, least=(1, 1), by_stratum=False, order=range(4))
    assert [
        sum(n for (((_, n),), p) in zip(blocks, part, strict=True) if p == k) for k in (0, 1)
    ] == [6, 6]


def test_each_part_gets_each_stratum_where_it_must() -> None:
    # One block of a class is larger than all that is wished for the second part.
    blocks = [((0, 40),), ((0, 30),), ((1, 1),), ((1, 1),), ((1, 1),)]
    wished = np.array([[65, 2.5], [5, 0.5]])
    part = allocate(blocks, wished, least=(1, 1), by_stratum=True, order=range(5))
    assert part[:2] == [0, 1]
    assert sorted(part[2:])[::2] == [0, 1]
