"""What every strategy promises, with a holdout and with folds."""

from dataclasses import replace

import numpy as np
import pytest

from tests.data.splits.made import config, draw, listed, made
from tlsearch.data.dataset import ImageSet, with_columns
from tlsearch.data.splits import Split

STRATEGIES = ("random", "stratified", "time", "group", "stratified_group", "given")
NUM, CLASSES, GROUPS = 600, 4, 60
TOGETHER = [s for s in STRATEGIES if s not in ("time", "given")]
VALIDATION, TEST = 0.2, 0.3

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
holdout_and_folds = pytest.mark.parametrize("folds", [None, 4])


def everything(seed: int = 0) -> ImageSet:
    """600 images with all that a source and an audit may know; every tenth row is not usable."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, NUM)
    clusters = np.arange(NUM)
    for first in rng.choice(NUM - 5, 40, replace=False):
        clusters[first : first + rng.integers(2, 5)] = clusters[first]
    return made(
        labels,
        times=rng.integers(0, 400, NUM).astype(float),
        groups=rng.integers(0, GROUPS, NUM),
        parts=rng.choice([0, 0, 0, 1, 2, -1], NUM).astype(np.int8),
        clusters=clusters,
        rows=np.flatnonzero(np.arange(NUM) % 10),
        suspects=np.arange(NUM) % 17 == 3,
    )


def made_for(strategy: str, seed: int = 0) -> ImageSet:
    data = everything(seed)
    if strategy in ("time", "given"):
        return replace(data, clusters=None)
    # Near duplicates across groups would join groups to larger ones; that has its own test.
    return replace(data, clusters=None) if "group" in strategy else data


def drawn(
    strategy: str, folds: int | None, *, seed: int = 0, **changes: int | None
) -> tuple[Split, ...]:
    fields = {"validation": VALIDATION, "test": TEST, "folds": folds, "seed": seed}
    return draw(made_for(strategy, seed), config(strategy, **fields), **changes)  # type: ignore[arg-type]


@every_strategy
@holdout_and_folds
def test_parts_are_sorted_disjoint_and_cover_what_may_be_used(
    strategy: str, folds: int | None
) -> None:
    data, splits = made_for(strategy), drawn(strategy, folds)
    assert len(splits) == (folds or 1)
    assert data.suspects is not None
    for parts in splits:
        for rows in parts:
            assert (np.diff(rows) > 0).all()
            assert np.isin(rows, data.usable).all()
            np.testing.assert_array_equal(rows, np.unique(rows))
        assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts)))
        assert not data.suspects[parts.train].any()
        assert data.suspects[parts.test].any()
        if not (strategy == "time" and folds):  # an expanding window leaves out what is later
            left = np.setdiff1d(data.usable, np.concatenate(parts))
            assert data.suspects[left].all()


@every_strategy
def test_folds_share_one_test_part_and_validate_each_image_once(strategy: str) -> None:
    data, splits = made_for(strategy), drawn(strategy, 4)
    for parts in splits:
        np.testing.assert_array_equal(parts.test, splits[0].test)
    held = np.concatenate([parts.validation for parts in splits])
    assert len(held) == len(np.unique(held))
    rest = np.setdiff1d(data.usable, splits[0].test)
    if strategy != "time":
        np.testing.assert_array_equal(np.sort(held), rest)


@every_strategy
@holdout_and_folds
def test_the_test_part_heeds_the_seed_alone(strategy: str, folds: int | None) -> None:
    (own,) = drawn(strategy, None)
    for changes in ({}, {"labels": 5}, {"redraw": 3}, {"labels": 5, "redraw": 2}):
        other = drawn(strategy, folds, **changes)  # type: ignore[arg-type]
        np.testing.assert_array_equal(other[0].test, own.test)


@every_strategy
@holdout_and_folds
def test_the_same_request_gives_the_same_parts(strategy: str, folds: int | None) -> None:
    assert listed(drawn(strategy, folds, labels=6)) == listed(drawn(strategy, folds, labels=6))


@every_strategy
@holdout_and_folds
def test_a_redraw_moves_what_is_drawn_by_lot(strategy: str, folds: int | None) -> None:
    own, again, third = (drawn(strategy, folds, redraw=i) for i in (0, 1, 2))
    is_fixed = strategy == "time" or (strategy == "given" and not folds)
    assert (listed(own) == listed(again)) == is_fixed
    assert (listed(again) == listed(third)) == is_fixed
    labels = [listed(drawn(strategy, folds, labels=5, redraw=i)) for i in (0, 1)]
    assert labels[0] != labels[1]


@every_strategy
@holdout_and_folds
def test_fewer_labels_thin_the_training_part_alone(strategy: str, folds: int | None) -> None:
    data = made_for(strategy)
    for full, thin in zip(drawn(strategy, folds), drawn(strategy, folds, labels=7), strict=True):
        np.testing.assert_array_equal(full.test, thin.test)
        np.testing.assert_array_equal(full.validation, thin.validation)
        assert set(thin.train) < set(full.train)
        assert np.bincount(data.labels[thin.train]).tolist() == [7] * CLASSES


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "given"])
@pytest.mark.parametrize("seed", range(5))
def test_sizes_are_near_the_fractions(strategy: str, seed: int) -> None:
    data = replace(made_for(strategy, seed), suspects=None)
    num = len(data.usable)
    fields = {"validation": VALIDATION, "test": TEST, "seed": seed}
    (parts,) = draw(data, config(strategy, **fields))
    block = int(np.bincount(data.groups).max()) if "group" in strategy else 4  # type: ignore[arg-type]
    # A border, or a greedy choice, may be off by half of what stays together.
    near = {"random": 0, "stratified": 2}.get(strategy, block / 2 + 1)
    near *= CLASSES if strategy == "stratified_group" else 1
    assert abs(len(parts.test) - TEST * num) <= near + 0.5
    assert abs(len(parts.validation) - VALIDATION * num) <= near + 0.5
    folds = draw(data, config(strategy, **fields, folds=4))
    sizes = [len(f.validation) for f in folds]
    assert max(sizes) - min(sizes) <= 2 * near + 1 + block * ("group" in strategy)


@pytest.mark.parametrize("strategy", TOGETHER)
@holdout_and_folds
@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_and_groups_stay_on_one_side(
    strategy: str, folds: int | None, seed: int
) -> None:
    data = everything(seed)
    if "group" in strategy:  # few near duplicates, some of them across groups
        clusters = np.arange(NUM)
        clusters[1:40:2] = clusters[0:39:2]
        data = with_columns(data, clusters=clusters)
        data = replace(data, groups=np.arange(NUM) // 5)
    together = {"clusters": data.clusters}
    if "group" in strategy:
        together["groups"] = data.groups
    assert len(np.unique(data.clusters)) < NUM  # type: ignore[arg-type]
    fields = {"validation": VALIDATION, "test": TEST, "seed": seed, "folds": folds}
    for parts in draw(data, config(strategy, **fields)):
        for column in together.values():
            assert column is not None
            sides = [set(column[rows]) for rows in parts]
            assert not sides[0] & sides[1]
            assert not sides[0] & sides[2]
            assert not sides[1] & sides[2]


@pytest.mark.parametrize("seed", range(10))
@holdout_and_folds
def test_stratified_shares_are_near_with_near_duplicates_too(seed: int, folds: int | None) -> None:
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.choice(3, NUM, p=[0.6, 0.3, 0.1]))
    clusters = np.arange(NUM) // rng.integers(2, 5)
    data = made(labels, clusters=clusters)
    whole = np.bincount(labels) / NUM
    for parts in draw(data, config("stratified", seed=seed, folds=folds, test=0.3)):
        for rows in parts:
            shares = np.bincount(labels[rows], minlength=3) / len(rows)
            assert np.abs(shares - whole).sum() / 2 < 0.04
