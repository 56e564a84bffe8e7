"""Which images train, which choose, which are kept for the end.

The test part depends on the split's seed and its share alone: neither the labels that training may
use, nor folds, nor a redraw for a confirmation moves an image into or out of it. Fractions are of
all images that may be used.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tlsearch.data.images import TEST, VALIDATION, ImageSet
from tlsearch.data.splits.blocks import Lots, TooFewError, deal, joined, take
from tlsearch.data.splits.ordered import in_time
from tlsearch.data.splits.parts import (
    Split,
    check_splits,
    empty_part,
    few_blocks,
    few_labels,
    not_told,
    small_class,
)
from tlsearch.study.data import SplitConfig
from tlsearch.study.seeds import derive_seed

_PARTS = 3


def draw_splits(
    data: ImageSet, *, split: SplitConfig, labels_per_class: int | None, redraw: int
) -> tuple[Split, ...]:
    """One Split, or one for each fold; all of them share the test part.

    `redraw` 0 is the study's own; any other draws train and validation anew among the images that
    are not test. What is given, or ordered in time, cannot be redrawn and stays. Images that share
    a cluster stay together, but where parts are given or in time. Then `data.suspects` leave the
    training part, and `labels_per_class` thins it to so many of each class, by lot and anew for
    each redraw.

    Raises:
        RequestError: a part would be empty or hold one class only, there are fewer groups than
            parts, a class is too small for a stratified split or has fewer images left to train
            on than `labels_per_class`, or the source does not tell what the strategy needs.
    """
    thinned = []
    for fold, parts in enumerate(draw_parts(data, split=split, redraw=redraw), start=1):
        train = parts.train
        if data.suspects is not None:
            train = train[~data.suspects[train]]
        if labels_per_class is not None:
            place = ("labels", redraw, fold) if split.folds else ("labels", redraw)
            train = _thin(data, train, labels_per_class, _rng(split, *place))
        thinned.append(parts._replace(train=train))
    check_splits(data, thinned, split=split)
    return tuple(thinned)


def draw_parts(data: ImageSet, *, split: SplitConfig, redraw: int) -> tuple[Split, ...]:
    """The parts as `draw_splits` draws them, whole and unchecked: suspects stay, no label is left
    out, and a part may hold one class only.

    Raises:
        RequestError: a part would be empty, there are fewer groups than parts, a class is too small
            for a stratified split, or the source does not tell what the strategy needs.
    """
    return in_time(data, split) if split.strategy == "time" else _by_lot(data, split, redraw)


def _by_lot(data: ImageSet, split: SplitConfig, redraw: int) -> tuple[Split, ...]:
    pool, lots = data.usable, _lots(data, split)
    named = _named_parts(data, split)
    test, validation = pool[named == TEST], pool[named == VALIDATION]
    num_test = len(test) or round(len(pool) * split.test)
    num_validation = len(validation) or round(len(pool) * split.validation)
    num_train = len(pool) - num_test - num_validation
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    if split.folds:
        sizes = {"train": len(pool) - num_test, "test": num_test}
    for name, num in sizes.items():
        if num < 1:
            raise empty_part(f"{name} part", len(pool), split)

    if not len(test):
        left = np.setdiff1d(pool, validation)
        # What else is drawn from them needs a block of its own, and so does training.
        leave = 1 if len(validation) else _PARTS - 1
        with _told(data, split, f"; each of the {leave + 1} parts"):
            test = take(left, lots, num=num_test, leave=leave, rng=_rng(split, "test"))
    rest = np.setdiff1d(pool, test)
    held: tuple[np.ndarray, ...]
    if split.folds:
        with _told(data, split, f" outside the test part; each of the {split.folds} folds"):
            held = deal(rest, lots, hands=split.folds, rng=_rng(split, "folds", redraw))
    elif len(validation):
        held = (validation,)
    else:
        rng = _rng(split, "validation", redraw)
        with _told(data, split, " outside the test part; each of the other 2 parts"):
            held = (take(rest, lots, num=num_validation, leave=1, rng=rng),)
    return tuple(Split(np.setdiff1d(rest, rows), rows, test) for rows in held)


def _lots(data: ImageSet, split: SplitConfig) -> Lots:
    """What is balanced between parts, and what stays together."""
    num = len(data.labels)
    together = [] if data.clusters is None else [data.clusters]
    grouped = split.strategy in ("group", "stratified_group")
    if grouped:
        if data.groups is None:
            raise not_told("groups", split, None)
        together.append(data.groups)
    balanced = split.strategy in ("stratified", "stratified_group", "given")
    return Lots(
        strata=data.labels if balanced else np.zeros(num, np.int64),
        blocks=joined(tuple(together), num=num),
        strict=balanced and not grouped,
    )


def _named_parts(data: ImageSet, split: SplitConfig) -> np.ndarray:
    """The part that the source names for each image that may be used; without one, it trains."""
    if split.strategy != "given":
        return np.full(len(data.usable), -1)
    if data.parts is None:
        raise not_told("parts", split, None)
    named: np.ndarray = data.parts[data.usable]
    return named


@contextmanager
def _told(data: ImageSet, split: SplitConfig, needs: str) -> Iterator[None]:
    """Name the class or the groups that there are too few of."""
    try:
        yield
    except TooFewError as few:
        if few.stratum is None:
            raise few_blocks(few.found, needs, split) from None
        rows = data.usable[data.labels[data.usable] == few.stratum]
        together = data.clusters is not None and len(np.unique(data.clusters[rows])) < len(rows)
        unit = "set" if together else "image"
        found = f"{few.found} {unit}" if few.found == 1 else f"{few.found} {unit}s"
        found += " of near duplicates" if together else ""
        raise small_class(data.class_names[few.stratum], found, needs, split) from None


def _thin(
    data: ImageSet, train: np.ndarray, per_class: int, rng: np.random.Generator
) -> np.ndarray:
    """`per_class` of each class among `train`, by lot."""
    classes = np.unique(data.labels[data.usable])
    counts = np.bincount(data.labels[train], minlength=data.num_classes)
    least = classes[counts[classes].argmin()]
    if counts[least] < per_class:
        raise few_labels(data.class_names[least], int(counts[least]), per_class)
    kept = [rng.permutation(train[data.labels[train] == label])[:per_class] for label in classes]
    return np.sort(np.concatenate(kept))


def _rng(split: SplitConfig, *place: int | str) -> np.random.Generator:
    return np.random.default_rng(derive_seed(split.seed, *place))
