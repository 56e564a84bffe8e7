"""What every strategy of splitting promises, by hand and with folds; refusals; and facts."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from tests.data.made import draw, labelled, listed, split_config
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, Files, ImageSet, with_columns
from tlsearch.data.sources import load_digits_images
from tlsearch.data.splits import Split, allocate, describe, fingerprint, listing
from tlsearch.errors import RequestError

STRATEGIES = ("random", "stratified", "time", "group", "stratified_group", "given")
NUM, CLASSES, GROUPS = 600, 4, 60
TOGETHER = [s for s in STRATEGIES if s not in ("time", "given")]
VALIDATION_SHARE, TEST_SHARE = 0.2, 0.3

every_strategy = pytest.mark.parametrize("strategy", STRATEGIES)
holdout_and_folds = pytest.mark.parametrize("folds", [None, 4])


def everything(seed: int = 0) -> ImageSet:
    """600 images with all that a source and an audit may know; every tenth row is not usable."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, NUM)
    clusters = np.arange(NUM)
    for first in rng.choice(NUM - 5, 40, replace=False):
        clusters[first : first + rng.integers(2, 5)] = clusters[first]
    return labelled(
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
    fields = {"validation": VALIDATION_SHARE, "test": TEST_SHARE, "folds": folds, "seed": seed}
    return draw(made_for(strategy, seed), split_config(strategy, **fields), **changes)  # type: ignore[arg-type]


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
            np.testing.assert_array_equal(rows, np.unique(rows))
            assert np.isin(rows, data.usable).all()
        assert sum(map(len, parts)) == len(np.unique(np.concatenate(parts)))
        assert not data.suspects[parts.train].any()
        assert data.suspects[parts.test].any()
        np.testing.assert_array_equal(parts.test, splits[0].test)
        if not (strategy == "time" and folds):  # an expanding window leaves out what is later
            left = np.setdiff1d(data.usable, np.concatenate(parts))
            assert data.suspects[left].all()
    held = np.concatenate([parts.validation for parts in splits])
    assert len(held) == len(np.unique(held))
    if folds and strategy != "time":
        np.testing.assert_array_equal(np.sort(held), np.setdiff1d(data.usable, splits[0].test))


@every_strategy
@holdout_and_folds
def test_what_labels_and_redraws_change(strategy: str, folds: int | None) -> None:
    data, (own,) = made_for(strategy), drawn(strategy, None)
    full, again, third = (drawn(strategy, folds, redraw=i) for i in (0, 1, 2))
    thin, other = (drawn(strategy, folds, labels=7, redraw=i) for i in (0, 1))
    for splits in (full, again, third, thin, other):  # neither moves the test part
        np.testing.assert_array_equal(splits[0].test, own.test)
    is_fixed = strategy == "time" or (strategy == "given" and not folds)
    assert (listed(full) == listed(again)) == is_fixed
    assert (listed(again) == listed(third)) == is_fixed
    assert listed(thin) != listed(other)
    assert listed(thin) == listed(drawn(strategy, folds, labels=7))
    for whole, few in zip(full, thin, strict=True):
        np.testing.assert_array_equal(whole.validation, few.validation)
        assert set(few.train) < set(whole.train)
        assert np.bincount(data.labels[few.train]).tolist() == [7] * CLASSES


@pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s != "given"])
@pytest.mark.parametrize("seed", range(3))
def test_sizes_are_near_the_fractions(strategy: str, seed: int) -> None:
    data = replace(made_for(strategy, seed), suspects=None)
    num = len(data.usable)
    fields = {"validation": VALIDATION_SHARE, "test": TEST_SHARE, "seed": seed}
    (parts,) = draw(data, split_config(strategy, **fields))
    block = int(np.bincount(data.groups).max()) if "group" in strategy else 4  # type: ignore[arg-type]
    # A border, or a greedy choice, may be off by half of what stays together.
    near = {"random": 0, "stratified": 2}.get(strategy, block / 2 + 1)
    near *= CLASSES if strategy == "stratified_group" else 1
    assert abs(len(parts.test) - TEST_SHARE * num) <= near + 0.5
    assert abs(len(parts.validation) - VALIDATION_SHARE * num) <= near + 0.5
    folds = draw(data, split_config(strategy, **fields, folds=4))
    sizes = [len(f.validation) for f in folds]
    assert max(sizes) - min(sizes) <= 2 * near + 1 + block * ("group" in strategy)


@pytest.mark.parametrize("strategy", TOGETHER)
@holdout_and_folds
@pytest.mark.parametrize("seed", range(3))
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
    fields = {"validation": VALIDATION_SHARE, "test": TEST_SHARE, "seed": seed, "folds": folds}
    for parts in draw(data, split_config(strategy, **fields)):
        for column in together.values():
            assert column is not None
            sides = [set(column[rows]) for rows in parts]
            assert len(set().union(*sides)) == sum(map(len, sides))


@pytest.mark.parametrize("seed", range(3))
@holdout_and_folds
def test_stratified_shares_are_near_with_near_duplicates_too(seed: int, folds: int | None) -> None:
    rng = np.random.default_rng(seed)
    labels = np.sort(rng.choice(3, NUM, p=[0.6, 0.3, 0.1]))
    clusters = np.arange(NUM) // rng.integers(2, 5)
    data = labelled(labels, clusters=clusters)
    whole = np.bincount(labels) / NUM
    for parts in draw(data, split_config("stratified", seed=seed, folds=folds, test=0.3)):
        for rows in parts:
            shares = np.bincount(labels[rows], minlength=3) / len(rows)
            assert np.abs(shares - whole).sum() / 2 < 0.04


def test_clusters_of_one_image_change_nothing() -> None:
    digits = load_digits_images(8)
    alone = replace(digits, clusters=np.arange(len(digits.labels)) + 5)
    for strategy in ("random", "stratified"):
        wanted = split_config(strategy, test=0.6)
        (parts,) = draw(digits, wanted)
        assert listed((parts,)) == listed(draw(alone, wanted))
        assert [len(rows) for rows in parts] == [360, 359, 1078]


def test_shares_by_hand() -> None:
    labels = np.repeat([0, 1], [20, 10])
    (parts,) = draw(labelled(labels), split_config("stratified", validation=0.3, test=0.5))
    assert [np.bincount(labels[rows]).tolist() for rows in parts] == [[4, 2], [6, 3], [10, 5]]


@pytest.mark.parametrize("seed", range(5))
def test_every_class_is_in_every_part_even_the_smallest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(8), [3, 3, 4, 5, 7, 20, 50, 100]))
    wanted = split_config("stratified", seed=seed, validation=0.1, test=0.3)
    (parts,) = draw(labelled(labels), wanted, redraw=seed)
    for rows in parts:
        assert np.bincount(labels[rows], minlength=8).min() >= 1
    assert [len(rows) for rows in parts] == [192 - 19 - 58, 19, 58]


@pytest.mark.parametrize("seed", range(2))
def test_stratified_folds_are_as_even_as_scikit_learns(seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 5, 203)
    splits = draw(labelled(labels), split_config("stratified", seed=seed, folds=5, test=0.3))
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
        data = labelled(labels, groups=groups)
        splits = draw(data, split_config("stratified_group", seed=seed, folds=4, test=0.2))
        rest = np.setdiff1d(np.arange(400), splits[0].test)
        splitter = StratifiedGroupKFold(4, shuffle=True, random_state=seed)
        folds = [rest[rows] for _, rows in splitter.split(rest, labels[rest], groups[rest])]
        theirs.append(spread(folds, labels))
        ours.append(spread([parts.validation for parts in splits], labels))
    assert np.mean(ours) <= np.mean(theirs)


def test_blocks_by_hand() -> None:
    clusters, groups = [0, 0, 1, 2, 3, -1, -1], [7, 8, 8, 9, 10, 11, 12]
    data = labelled([0, 1] * 3 + [0], clusters=clusters, groups=groups)
    assert data.blocks(by_group=True).tolist() == [0, 0, 0, 3, 4, 5, 6]
    assert data.blocks(by_group=False).tolist() == [0, 0, 2, 3, 4, 5, 6]
    assert labelled([0, 1, 0]).blocks(by_group=True).tolist() == [0, 1, 2]


def test_a_long_chain_is_one_block() -> None:
    first = np.arange(101) // 2
    second = (np.arange(101) + 1) // 2
    data = labelled(np.arange(101) % 2, clusters=first, groups=second)
    assert not data.blocks(by_group=True).any()


@pytest.mark.parametrize("seed", range(3))
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
    data = labelled(np.arange(42) % 2, groups=groups)
    tested = {
        g
        for seed in range(30)
        for g in groups[draw(data, split_config("group", seed=seed, test=0.3))[0].test].tolist()
    }
    assert tested == set(range(6))


def test_each_part_gets_each_stratum_where_it_must() -> None:
    # One block of a class is larger than all that is wished for the second part.
    blocks = [((0, 40),), ((0, 30),), ((1, 1),), ((1, 1),), ((1, 1),)]
    wished = np.array([[65, 2.5], [5, 0.5]])
    part = allocate(blocks, wished, least=(1, 1), by_stratum=True, order=range(5))
    assert part[:2] == [0, 1]
    assert sorted(part[2:])[::2] == [0, 1]


def test_by_hand_with_a_gap() -> None:
    # 12 images, the newest first: 3 tested, 1 left out, 3 validate, 1 left out, 4 train
    data = labelled(np.arange(12) % 2, times=np.arange(12.0)[::-1])
    wanted = split_config("time", validation=0.25, test=0.25, gap=1)
    assert listed(draw(data, wanted)) == [[[8, 9, 10, 11], [4, 5, 6], [0, 1, 2]]]


def test_equal_times_stay_together() -> None:
    #        0  1  2  3  4  5  6  7  8  9 ; borders at 6 and 8 would cut 5-6-7 and 8-9 is clean
    times = [0, 1, 2, 3, 4, 5, 5, 5, 6, 6]
    data = labelled([0, 1] * 5, times=np.array(times, float))
    (parts,) = draw(data, split_config("time", validation=0.2, test=0.2))
    assert [rows.tolist() for rows in parts] == [[0, 1, 2, 3, 4], [5, 6, 7], [8, 9]]
    # Border at 7: the later end is nearer, which is the test part's border.
    (parts,) = draw(data, split_config("time", validation=0.4, test=0.3))
    assert parts.test.tolist() == [8, 9]
    assert parts.validation.tolist() == [4, 5, 6, 7]
    # As near to both ends: the earlier one.
    data = labelled([0, 1] * 4, times=np.array([0, 1, 2, 3, 4, 4, 5, 6], float))
    (parts,) = draw(data, split_config("time", validation=0.3, test=0.375))
    assert parts.test.tolist() == [4, 5, 6, 7]


@pytest.mark.parametrize(("num", "folds", "gap"), [(40, 4, 0), (41, 3, 2), (100, 5, 7)])
def test_folds_are_scikit_learns(num: int, folds: int, gap: int) -> None:
    rng = np.random.default_rng(num)
    times = rng.permutation(num).astype(float)
    data = labelled(rng.permutation(np.arange(num) % 2), times=times)
    splits = draw(data, split_config("time", folds=folds, gap=gap, test=0.2))
    order = np.argsort(times)[: num - round(num * 0.2) - gap]
    theirs = TimeSeriesSplit(n_splits=folds, gap=gap).split(order)
    for parts, (train, validation) in zip(splits, theirs, strict=True):
        np.testing.assert_array_equal(parts.train, np.sort(order[train]))
        np.testing.assert_array_equal(parts.validation, np.sort(order[validation]))


@pytest.mark.parametrize("folds", [None, 3])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_that_trains_is_as_late_as_what_is_predicted(seed: int, folds: int | None) -> None:
    rng = np.random.default_rng(seed)
    times = rng.integers(0, 60, 300).astype(float)
    gap = int(rng.integers(0, 10))
    data = labelled(rng.integers(0, 2, 300), times=times)
    for parts in draw(data, split_config("time", folds=folds, gap=gap)):
        assert times[parts.train].max() < times[parts.validation].min()
        assert times[parts.validation].max() < times[parts.test].min() or gap
        assert times[parts.validation].max() <= times[parts.test].min()
        assert times[parts.train].max() < times[parts.test].min()


HUNDRED = np.arange(100) % 2
ROWS = np.arange(100)


def parts_of(train: int, validation: int, test: int) -> np.ndarray:
    return np.repeat([TRAIN, VALIDATION, TEST], [train, validation, test]).astype(np.int8)


def test_all_three_are_kept() -> None:
    data = labelled(HUNDRED, parts=parts_of(50, 30, 20))
    expected = [[ROWS[:50].tolist(), ROWS[50:80].tolist(), ROWS[80:].tolist()]]
    for redraw in (0, 1):
        assert listed(draw(data, split_config("given"), redraw=redraw)) == expected


def test_a_missing_validation_part_is_drawn_from_train() -> None:
    data = labelled(HUNDRED, parts=parts_of(80, 0, 20))
    (own,), (again,) = (draw(data, split_config("given"), redraw=i) for i in (0, 1))
    assert own.test.tolist() == again.test.tolist() == ROWS[80:].tolist()
    assert (len(own.train), len(own.validation)) == (60, 20)
    assert np.bincount(HUNDRED[own.validation]).tolist() == [10, 10]
    assert own.validation.tolist() != again.validation.tolist()


def test_a_missing_test_part_is_drawn_from_train() -> None:
    data = labelled(HUNDRED, parts=parts_of(70, 30, 0))
    (own,), (again,) = (draw(data, split_config("given"), redraw=i) for i in (0, 1))
    assert own.validation.tolist() == ROWS[70:].tolist()
    assert len(own.test) == 20
    assert own.test.max() < 70
    assert listed((own,)) == listed((again,))


def test_folds_divide_what_is_not_tested() -> None:
    data = labelled(HUNDRED, parts=parts_of(50, 30, 20))
    splits = draw(data, split_config("given", folds=4))
    held = np.sort(np.concatenate([parts.validation for parts in splits]))
    assert held.tolist() == ROWS[:80].tolist()
    assert {tuple(np.bincount(HUNDRED[p.validation])) for p in splits} == {(10, 10)}


def test_images_without_a_part_train() -> None:
    named = parts_of(50, 30, 20)
    named[:3] = -1
    data = labelled(HUNDRED, parts=named)
    (found,) = splits = draw(data, split_config("given"))
    assert found.train.tolist() == ROWS[:50].tolist()
    *_, note = describe(data, splits, split=split_config("given")).notes
    assert note == "3 images without a given part are taken as training images"


EVEN = np.arange(60) % 2


def refused(data: Any, split: Any, **changes: Any) -> str:
    with pytest.raises(RequestError) as caught:
        draw(data, split, **changes)
    message = str(caught.value)
    assert "\n" not in message
    return message


LABELS_20_2, LABELS_40_5 = np.repeat([0, 1], [20, 2]), np.repeat([0, 1], [40, 5])
IN_PAIRS = np.array([*range(20), 90, 90, 90, 91, 91, 91])
TIMES = np.arange(60.0)
TWO_UNKNOWN = np.array([np.nan, np.nan, *range(58)])
ONES_FIRST, ZEROS_LAST = EVEN.copy(), EVEN.copy()
ONES_FIRST[:15], ZEROS_LAST[46:] = 1, 0


@pytest.mark.parametrize(
    ("data", "split", "message"),
    [
        ({"labels": EVEN[:4]}, ("random", 0.1, 0.5), "no image of 4 for the validation part"),
        ({"labels": EVEN[:4]}, ("stratified", 0.5, 0.1), "no image of 4 for the test part"),
        ({"labels": EVEN[:4]}, ("random", 0.45, 0.45), "no image of 4 for the train part"),
        (
            {"labels": LABELS_20_2},
            ("stratified",),
            'strategy = stratified: class "class b" has 2 images; each of the 3 parts needs one — '
            "add images of it",
        ),
        (
            {"labels": np.repeat([0, 1], [20, 6]), "clusters": IN_PAIRS},
            ("stratified",),
            'class "class b" has 2 sets of near duplicates; each of the 3 parts',
        ),
        (
            {"labels": LABELS_40_5},
            ("stratified", 0.2, 0.2, 5),
            'class "class b" has 4 images outside the test part; each of the 5 folds needs one — '
            "take fewer folds",
        ),
        (
            {"groups": np.arange(60) // 2 % 2},
            ("group",),
            "there are 2 groups; each of the 3 parts needs one",
        ),
        (
            {"groups": np.zeros(60, int)},
            ("stratified_group",),
            "there is 1 group; each of the 3 parts needs one",
        ),
        (
            {"groups": np.arange(60) // 2 % 5},
            ("group", 0.2, 0.2, 5),
            "there are 4 groups outside the test part; each of the 5 folds needs one",
        ),
        ({}, ("group",), "strategy = group: the source has no groups"),
        ({}, ("stratified_group",), "strategy = stratified_group: the source has no groups"),
        ({}, ("given",), "strategy = given: the source has no parts"),
        ({}, ("time",), "strategy = time: the source has no times — "),
        ({"times": TWO_UNKNOWN}, ("time",), "2 images have none of the times"),
        (
            {"times": TWO_UNKNOWN, "rows": np.arange(1, 60)},
            ("time",),
            "1 image has none of the times",
        ),
        ({"times": np.zeros(60)}, ("time",), "one time stay in one part"),
        (
            {"suspects": EVEN == 1},
            ("stratified",),
            "data.split = {validation: 0.2, test: 0.2}: the train part holds images of one class "
            'only, "class a"',
        ),
        ({"labels": ZEROS_LAST, "times": TIMES}, ("time",), "the test part holds images of one"),
        (
            {"labels": ONES_FIRST, "times": TIMES},
            ("time", 0.2, 0.2, 3),
            "data.split = {folds: 3, test: 0.2}: the train part in fold 1 holds",
        ),
        ({"suspects": np.ones(60, bool)}, ("random",), "no image of 60 for the train part"),
        (
            {"weights": np.zeros(60, np.float32)},
            ("random",),
            "all images of the training part have weight 0",
        ),
        (
            {"parts": np.where(np.arange(60) < 30, 1, 2).astype(np.int8)},
            ("given",),
            "no image of 60 for the train part",
        ),
    ],
)
def test_what_cannot_be_divided_is_refused(data: Any, split: Any, message: str) -> None:
    strategy, validation, test, folds = (*split, *("", 0.2, 0.2, None)[len(split) :])
    wanted = split_config(strategy, validation=validation, test=test, folds=folds)
    assert message in refused(labelled(**{"labels": EVEN, **data}), wanted)


@pytest.mark.parametrize("folds", [None, 4])
def test_a_gap_that_takes_all_is_refused(folds: int | None) -> None:
    data = labelled([0, 1] * 10, times=np.arange(20.0))
    message = refused(data, split_config("time", gap=9, folds=folds))
    assert "data.split.gap = 9: leaves none of 20 images" in message


def test_the_least_that_can_be_divided() -> None:
    assert len(draw(labelled(LABELS_40_5), split_config("stratified", folds=4))) == 4
    used = labelled(EVEN, times=TWO_UNKNOWN, rows=np.arange(2, 60))
    assert len(draw(used, split_config("time"))) == 1


@pytest.mark.parametrize("strategy", ["random", "stratified"])
def test_more_labels_than_there_are(strategy: str) -> None:
    data = labelled(np.repeat([0, 1], [40, 20]))
    message = refused(data, split_config(strategy), labels=30)
    assert message.startswith("data.labels_per_class = 30: the training part has ")
    assert 'images of its smallest class, "class b" — take ' in message
    most = int(message.rpartition("take ")[2].split()[0])
    assert len(draw(data, split_config(strategy), labels=most)[0].train) == 2 * most
    none = refused(labelled(EVEN, suspects=EVEN == 1), split_config(strategy), labels=1)
    assert 'has 0 images of its smallest class, "class b" — write null for all' in none


def split_of(*parts: list[int]) -> tuple[Split, ...]:
    return (Split(*(np.array(rows) for rows in parts)),)


SPLIT = split_of([0, 1, 2, 3], [4, 5], [6, 7])
LABELS = [0, 0, 0, 1, 0, 1, 1, 1, 0]


def test_shares_and_distances_by_hand() -> None:
    facts = describe(labelled(LABELS), SPLIT, split=split_config("random"))
    assert [(p.part, p.fold, p.class_counts) for p in facts.parts] == [
        ("train", 1, (3, 1)),
        ("validation", 1, (1, 1)),
        ("test", 1, (0, 2)),
    ]
    # (3/4, 1/4) against (1/2, 1/2) and (0, 1)
    assert [(p.first, p.second, p.distance) for p in facts.pairs] == [
        ("train", "validation", 0.25),
        ("train", "test", 0.75),
        ("validation", "test", 0.5),
    ]
    assert facts.left_out == 1
    assert facts.counts("train") == (3, 1)
    assert {(p.duplicates, p.near_duplicates, p.groups, p.later) for p in facts.pairs} == {
        (None, None, None, None)
    }
    assert facts.notes == (
        'no image of "class a" is in the test part: its figure says nothing about it',
    )


def test_leakage_by_hand() -> None:
    data = labelled(
        LABELS,
        clusters=[0, 1, 2, 3, 0, 1, 0, 7, 8],
        groups=[0, 0, 1, 1, 1, 2, 2, 0, -1],
        times=np.array([1, 9, 3, 4, 5, 6, 4, 8, 0], float),
    )
    names = np.array([f"{i}.png" for i in range(9)])
    digests = np.array(["a", "b", "c", "d", "a", "e", "b", "a", "f"])
    files = Files(names, np.ones((9, 2), np.int32), digests, np.zeros(9, np.uint64))
    facts = describe(replace(data, files=files), SPLIT, split=split_config("random"))
    found = {
        (p.first, p.second): (p.duplicates, p.near_duplicates, p.groups, p.later)
        for p in facts.pairs
    }
    # later: of train 9 > 5; of train 9 > 4 (4 is not); of validation 5 and 6 > 4
    assert found == {
        ("train", "validation"): (1, 2, 1, 1),
        ("train", "test"): (2, 1, 1, 1),
        ("validation", "test"): (1, 1, 1, 2),
    }
    assert facts.notes[1:] == (
        "near duplicates on both sides of the test part (1): its figure may be too good",
        "groups on both sides of the test part (1): its figure may be too good",
    )
    found = listing(replace(data, files=files), SPLIT)
    assert found["images"] == "name"
    assert found["test"] == ["6.png", "7.png"]
    assert found["folds"] == [
        {"train": [f"{i}.png" for i in range(4)], "validation": ["4.png", "5.png"]}
    ]


def test_a_class_that_is_never_seen_in_training() -> None:
    splits = split_of([0, 1, 2], [4, 5], [6, 7])
    note, *_ = describe(labelled(LABELS), splits, split=split_config("random")).notes
    assert note.startswith('no image of "class b" is in the training part: what is never seen')


def test_listing_by_index() -> None:
    found = listing(labelled(LABELS), SPLIT)
    assert json.loads(json.dumps(found)) == {
        "fingerprint": fingerprint(SPLIT),
        "images": "index",
        "test": [6, 7],
        "folds": [{"train": [0, 1, 2, 3], "validation": [4, 5]}],
    }


def test_a_fingerprint_tells_any_index() -> None:
    others = (
        split_of([0, 1, 2], [3, 4, 5], [6, 7]),
        split_of([0, 1, 2, 3], [4, 5], [6, 8]),
        (*SPLIT, *SPLIT),
    )
    assert len({fingerprint(splits) for splits in (SPLIT, *others)}) == 4
    assert len(fingerprint(SPLIT)) == 16


def test_a_split_in_time_does_not_leak_and_a_random_one_does() -> None:
    data = labelled(np.arange(40) % 2, times=np.arange(40.0))
    for wanted in (split_config("random"), split_config("time", folds=2, gap=2)):
        facts = describe(data, draw(data, wanted), split=wanted)
        assert all((pair.later == 0) == (wanted.strategy == "time") for pair in facts.pairs)
    # 8 tested, 2 left out, 30 in three runs of ten, of which two are left out at the end
    assert [(p.part, p.fold, sum(p.class_counts)) for p in facts.parts] == [
        ("train", 1, 8), ("validation", 1, 10), ("test", 1, 8),
        ("train", 2, 18), ("validation", 2, 10),
    ]  # fmt: skip
    assert facts.left_out == 2
