"""What every strategy of splitting promises, by hand and with folds; and refusals."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, TimeSeriesSplit

from tests.data.made import draw, labelled, listed, split_config
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, ImageSet, with_columns
from tlsearch.data.sources import load_digits_images
from tlsearch.data.split_facts import describe
from tlsearch.data.splits import Split, allocate
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
    fields = {"validation": VALIDATION_SHARE, "test": TEST_SHARE, "seed": seed, "folds": folds}
    for parts in draw(data, split_config(strategy, **fields)):
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
    data = labelled(labels, clusters=clusters)
    whole = np.bincount(labels) / NUM
    for parts in draw(data, split_config("stratified", seed=seed, folds=folds, test=0.3)):
        for rows in parts:
            shares = np.bincount(labels[rows], minlength=3) / len(rows)
            assert np.abs(shares - whole).sum() / 2 < 0.04


UNGROUPED = ("random", "stratified")


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    return load_digits_images(8)


@pytest.mark.parametrize("strategy", UNGROUPED)
def test_the_sizes_of_the_parts(digits: ImageSet, strategy: str) -> None:
    (parts,) = draw(digits, split_config(strategy, test=0.6))
    assert [len(rows) for rows in parts] == [360, 359, 1078]


def test_the_test_part_ignores_the_size_of_the_validation_part(digits: ImageSet) -> None:
    (few,), (many,) = (draw(digits, split_config("stratified", validation=v)) for v in (0.1, 0.3))
    np.testing.assert_array_equal(few.test, many.test)


def test_clusters_of_one_image_change_nothing(digits: ImageSet) -> None:
    alone = replace(digits, clusters=np.arange(len(digits.labels)) + 5)
    for strategy in UNGROUPED:
        asked = split_config(strategy, test=0.6)
        assert listed(draw(alone, asked)) == listed(draw(digits, asked))


def test_shares_by_hand() -> None:
    labels = np.repeat([0, 1], [20, 10])
    (parts,) = draw(labelled(labels), split_config("stratified", validation=0.3, test=0.5))
    assert [np.bincount(labels[rows]).tolist() for rows in parts] == [[4, 2], [6, 3], [10, 5]]


def test_stratified_shares_are_as_near_as_rounding_allows(digits: ImageSet) -> None:
    counts = np.bincount(digits.labels)
    (parts,) = draw(digits, split_config("stratified", test=0.6))
    for rows, fraction in zip(parts, (0.2, 0.2, 0.6), strict=True):
        assert np.abs(np.bincount(digits.labels[rows]) - counts * fraction).max() < 1.5


@pytest.mark.parametrize("seed", range(20))
def test_every_class_is_in_every_part_even_the_smallest(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(8), [3, 3, 4, 5, 7, 20, 50, 100]))
    asked = split_config("stratified", seed=seed, validation=0.1, test=0.3)
    (parts,) = draw(labelled(labels), asked, redraw=seed)
    for rows in parts:
        assert np.bincount(labels[rows], minlength=8).min() >= 1
    assert [len(rows) for rows in parts] == [192 - 19 - 58, 19, 58]


@pytest.mark.parametrize("seed", range(5))
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
    data = labelled(np.arange(42) % 2, groups=groups)
    tested = {
        g
        for seed in range(30)
        for g in groups[draw(data, split_config("group", seed=seed, test=0.3))[0].test].tolist()
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


def test_by_hand_with_a_gap() -> None:
    # 12 images, the newest first: 3 tested, 1 left out, 3 validate, 1 left out, 4 train
    data = labelled(np.arange(12) % 2, times=np.arange(12.0)[::-1])
    asked = split_config("time", validation=0.25, test=0.25, gap=1)
    assert listed(draw(data, asked)) == [[[8, 9, 10, 11], [4, 5, 6], [0, 1, 2]]]


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


def test_a_tie_on_both_sides_of_the_middle_goes_to_the_earlier_end() -> None:
    times = np.array([0, 1, 2, 3, 4, 4, 5, 6], float)
    data = labelled([0, 1] * 4, times=times)
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
@pytest.mark.parametrize("seed", range(10))
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


@pytest.mark.parametrize("folds", [None, 4])
def test_a_gap_that_takes_all_is_refused(folds: int | None) -> None:
    data = labelled([0, 1] * 10, times=np.arange(20.0))
    with pytest.raises(RequestError, match=r"data.split.gap = 9: leaves none of 20 images"):
        draw(data, split_config("time", gap=9, folds=folds))


def test_one_time_for_all_is_refused() -> None:
    data = labelled([0, 1] * 10, times=np.zeros(20))
    with pytest.raises(RequestError, match=r"no image of 20 for the .* one time stay in one part"):
        draw(data, split_config("time"))


def test_missing_times_are_refused() -> None:
    with pytest.raises(RequestError, match=r"strategy = time: the source has no times — "):
        draw(labelled([0, 1] * 10), split_config("time"))
    times = np.array([np.nan, np.nan, *range(18)])
    with pytest.raises(RequestError, match="2 images have none of the times"):
        draw(labelled([0, 1] * 10, times=times), split_config("time"))
    with pytest.raises(RequestError, match="1 image has none of the times"):
        draw(labelled([0, 1] * 10, times=times, rows=np.arange(1, 20)), split_config("time"))
    used = labelled([0, 1] * 10, times=times, rows=np.arange(2, 20))
    assert len(draw(used, split_config("time"))) == 1


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


def test_what_is_drawn_keeps_near_duplicates_together() -> None:
    clusters = np.arange(100) // 4
    (found,) = draw(
        labelled(HUNDRED, parts=parts_of(80, 0, 20), clusters=clusters), split_config("given")
    )
    assert not set(clusters[found.train]) & set(clusters[found.validation])


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


@pytest.mark.parametrize("strategy", ["random", "stratified"])
@pytest.mark.parametrize(
    ("num", "validation", "test", "part"),
    [(4, 0.1, 0.5, "validation"), (4, 0.5, 0.1, "test"), (4, 0.45, 0.45, "train")],
)
def test_an_empty_part(strategy: str, num: int, validation: float, test: float, part: str) -> None:
    asked = split_config(strategy, validation=validation, test=test)
    assert f"no image of {num} for the {part} part" in refused(labelled(np.arange(num) % 2), asked)


def test_a_class_that_is_too_small() -> None:
    labels = np.repeat([0, 1], [20, 2])
    message = refused(labelled(labels), split_config("stratified"))
    assert message.startswith('data.split.strategy = stratified: class "class b" has 2 images; ')
    assert "each of the 3 parts needs one — add images of it" in message
    few = labelled(np.repeat([0, 1], [20, 20]), clusters=np.arange(40))
    assert len(draw(few, split_config("stratified"))[0].test) == 8


def test_a_class_of_near_duplicates_alone() -> None:
    labels = np.repeat([0, 1], [20, 6])
    clusters = np.arange(26)
    clusters[20:26] = [90, 90, 90, 91, 91, 91]
    message = refused(labelled(labels, clusters=clusters), split_config("stratified"))
    assert 'class "class b" has 2 sets of near duplicates; each of the 3 parts' in message


def test_a_class_with_fewer_images_than_folds() -> None:
    labels = np.repeat([0, 1], [40, 5])
    message = refused(labelled(labels), split_config("stratified", folds=5))
    assert 'class "class b" has 4 images outside the test part; each of the 5 folds' in message
    assert "take fewer folds" in message
    assert len(draw(labelled(labels), split_config("stratified", folds=4))) == 4


@pytest.mark.parametrize(
    ("groups", "folds", "rule"),
    [
        (2, None, "there are 2 groups; each of the 3 parts needs one"),
        (1, None, "there is 1 group; each of the 3 parts needs one"),
        (5, 5, "there are 4 groups outside the test part; each of the 5 folds needs one"),
    ],
)
@pytest.mark.parametrize("strategy", ["group", "stratified_group"])
def test_too_few_groups(strategy: str, groups: int, folds: int | None, rule: str) -> None:
    data = labelled(EVEN, groups=np.arange(60) // 2 % groups)
    assert rule in refused(data, split_config(strategy, folds=folds))


@pytest.mark.parametrize(
    ("strategy", "what"), [("group", "groups"), ("stratified_group", "groups"), ("given", "parts")]
)
def test_what_the_source_does_not_tell(strategy: str, what: str) -> None:
    assert f"strategy = {strategy}: the source has no {what}" in refused(
        labelled(EVEN), split_config(strategy)
    )


@pytest.mark.parametrize("strategy", ["random", "stratified"])
def test_more_labels_than_there_are(strategy: str) -> None:
    labels = np.repeat([0, 1], [40, 20])
    message = refused(labelled(labels), split_config(strategy), labels=30)
    assert message.startswith("data.labels_per_class = 30: the training part has ")
    assert 'images of its smallest class, "class b" — take ' in message
    most = int(message.rpartition("take ")[2].split()[0])
    assert len(draw(labelled(labels), split_config(strategy), labels=most)[0].train) == 2 * most


def test_suspects_leave_fewer_labels() -> None:
    data = labelled(EVEN, suspects=EVEN == 1)
    message = refused(data, split_config("stratified"), labels=1)
    assert 'has 0 images of its smallest class, "class b" — write null for all' in message


def test_a_training_part_of_one_class() -> None:
    data = labelled(EVEN, suspects=EVEN == 1)
    message = refused(data, split_config("stratified"))
    assert message.startswith("data.split = {validation: 0.2, test: 0.2}: the train part holds")
    assert 'images of one class only, "class a"' in message


@pytest.mark.parametrize(("part", "last"), [("test", 14), ("validation", 26)])
def test_a_part_in_time_of_one_class(part: str, last: int) -> None:
    labels = np.arange(60) % 2
    labels[60 - last : 60 - last + 14] = 0
    data = labelled(labels, times=np.arange(60.0))
    assert f"the {part} part holds images of one class only" in refused(data, split_config("time"))


def test_a_fold_is_named() -> None:
    labels = np.arange(60) % 2
    labels[:15] = 1
    message = refused(labelled(labels, times=np.arange(60.0)), split_config("time", folds=3))
    assert message.startswith("data.split = {folds: 3, test: 0.2}: the train part in fold 1 holds")


def test_suspects_alone_to_train_on() -> None:
    data = labelled(EVEN, suspects=np.ones(60, bool))
    assert "no image of 60 for the train part" in refused(data, split_config("random"))


def test_weights_of_nothing() -> None:
    data = labelled(EVEN, weights=np.zeros(60, np.float32))
    assert "all images of the training part have weight 0" in refused(data, split_config("random"))


def test_given_parts_without_training_images() -> None:
    parts = np.where(np.arange(60) < 30, 1, 2).astype(np.int8)
    assert "no image of 60 for the train part" in refused(
        labelled(EVEN, parts=parts), split_config("given")
    )
