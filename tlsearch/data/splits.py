"""Which images train, which choose, which are kept for the end.

The test part depends on the split's seed and its share alone: neither the labels that training may
use, nor folds, nor a redraw for a confirmation moves an image into or out of it. Fractions are of
all images that may be used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from tlsearch.config.schema import SplitConfig
from tlsearch.config.seeds import derive_seed
from tlsearch.config.validation import shown
from tlsearch.data.dataset import TEST, VALIDATION, ImageSet
from tlsearch.data.group_allocation import Lots, TooFewError, deal, joined, take
from tlsearch.errors import Problem, RequestError

# What a split is, and what is wrong with one: the classes have names here.


class Split(NamedTuple):
    """Sorted indices of the images in each part; disjoint."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def check_splits(data: ImageSet, splits: Sequence[Split], *, split: SplitConfig) -> None:
    """Refuse parts that are empty or teach or measure nothing.

    Raises:
        RequestError: a part is empty or holds one class only; the training part has weights that
            are all 0.
    """
    for fold, parts in enumerate(splits, start=1):
        where = f" in fold {fold}" if split.folds else ""
        for name, rows in zip(Split._fields, parts, strict=True):
            if not len(rows):
                raise empty_part(f"{name} part{where}", len(data.usable), split)
            classes = np.unique(data.labels[rows])
            if len(classes) == 1:
                only = shown(data.class_names[classes[0]])
                rule = f"the {name} part{where} holds images of one class only, {only}"
                remedy = "stratify, change the fractions or the seed, or add images"
                raise RequestError(str(Problem("data.split", written(split), rule, remedy)))
        if data.weights is not None and not data.weights[parts.train].sum() > 0:
            rule = f"all images of the training part{where} have weight 0"
            raise RequestError(f"data.source: {rule} — nothing would be learnt; mend the weights")


def written(split: SplitConfig) -> str:
    """The fields of a split that decide its sizes, as a study writes them."""
    if split.folds:
        return f"{{folds: {split.folds}, test: {split.test}}}"
    return f"{{validation: {split.validation}, test: {split.test}}}"


def empty_part(part: str, num_images: int, split: SplitConfig) -> RequestError:
    """The error of a part without images."""
    rule = f"leaves no image of {num_images} for the {part}"
    remedy = "every part needs at least one image: change the fractions or add images"
    if split.strategy == "time":
        remedy += "; images of one time stay in one part"
    return RequestError(str(Problem("data.split", written(split), rule, remedy)))


def small_class(name: str, found: str, needed: str, split: SplitConfig) -> RequestError:
    """The error of a class that cannot be in every part."""
    rule = f"class {shown(name)} has {found}{needed} needs one"
    fewer = "take fewer folds, " if split.folds else ""
    remedy = f"{fewer}add images of it, leave the class out, or use strategy: random"
    return RequestError(str(Problem("data.split.strategy", split.strategy, rule, remedy)))


def few_blocks(found: int, needed: str, split: SplitConfig) -> RequestError:
    """The error of fewer groups than parts."""
    grouped = "group" in split.strategy
    what = "group" if grouped else "set of near duplicates"
    have = f"there is 1 {what}" if found == 1 else f"there are {found} {what}s"
    rule = f"{have}{needed} needs one"
    fewer = "take fewer folds, " if split.folds else ""
    remedy = f"{fewer}add groups, or use strategy: stratified" if grouped else f"{fewer}add images"
    return RequestError(str(Problem("data.split.strategy", split.strategy, rule, remedy)))


def few_labels(name: str, found: int, per_class: int) -> RequestError:
    """The error of more labels than the training part has."""
    rule = f"the training part has {found} images of its smallest class, {shown(name)}"
    remedy = f"take {found} or less, or null for all" if found else "write null for all"
    return RequestError(str(Problem("data.labels_per_class", str(per_class), rule, remedy)))


def not_told(what: str, split: SplitConfig, missing: int | None) -> RequestError:
    """The error of a source that does not tell what the strategy needs, at all or of some."""
    rule = (
        f"the source tells no {what}"
        if missing is None
        else f"{missing} {'image has' if missing == 1 else 'images have'} none of the {what}"
    )
    remedy = "write strategy: stratified, or give a manifest that has them"
    return RequestError(str(Problem("data.split.strategy", split.strategy, rule, remedy)))


# Splits in time: what comes later is predicted from what came before.


def in_time(data: ImageSet, split: SplitConfig) -> tuple[Split, ...]:
    """Train, then validate, then test; with folds an expanding window over what is not tested, cut
    as scikit-learn's TimeSeriesSplit does.

    `gap` images before each part are left out. Images of one time stay in one part: a border among
    them moves to their nearer end. Nothing is drawn by lot.

    Raises:
        RequestError: times are missing, or a part would be empty.
    """
    pool = data.usable
    if data.times is None:
        raise not_told("times", split, None)
    times = data.times[pool]
    missing = int(np.isnan(times).sum())
    if missing:
        raise not_told("times", split, missing)
    order = np.argsort(times, kind="stable")
    rows, times = pool[order], times[order]

    test_from = edge(times, len(rows) - round(len(rows) * split.test))
    end = test_from - split.gap
    if split.folds:
        size = end // (split.folds + 1)
        borders = [end - size * left for left in range(split.folds, 0, -1)]
    else:
        borders = [end - round(len(rows) * split.validation)]
    if borders[0] - split.gap < 1:
        if split.gap and borders[0] + split.gap > 0:
            rule = f"leaves none of {len(rows)} images to train on"
            remedy = "leave out fewer between the parts, or make validation and test smaller"
            raise RequestError(str(Problem("data.split.gap", str(split.gap), rule, remedy)))
        raise empty_part("train part", len(rows), split)
    starts = [edge(times, border) for border in borders]
    ends = [*starts[1:], max(end, 0)]
    test = np.sort(rows[test_from:])
    return tuple(
        Split(
            train=np.sort(rows[: max(start - split.gap, 0)]),
            validation=np.sort(rows[start:stop]),
            test=test,
        )
        for start, stop in zip(starts, ends, strict=True)
    )


def edge(times: np.ndarray, border: int) -> int:
    """`border`, or the nearer end of the run of equal `times`, ascending, that it would cut."""
    if not 0 < border < len(times):
        return border
    first = int(np.searchsorted(times, times[border], side="left"))
    last = int(np.searchsorted(times, times[border], side="right"))
    if first == border:
        return border
    return first if border - first <= last - border else last


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


# A future that no split may touch, to judge ways of splitting the images before it.


FIELD = "comparison.future"
_SMALLER = "take a smaller share, or add images"


def set_future_apart(data: ImageSet, *, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the past and of the future, each ascending: the latest `share` of the images that
    may be used, by their times, or by their order where the source tells none.

    Images of one time stay on one side: a border among them moves to their nearer end. Groups and
    near duplicates may lie on both sides, as they do in time.

    Raises:
        RequestError: some images have no time, a side would be empty, the future holds one class
            only or one that the past lacks.
    """
    rows = data.usable
    times = np.arange(len(rows), dtype=float) if data.times is None else data.times[rows]
    missing = int(np.isnan(times).sum())
    if missing:
        rule = f"{missing} {'image has' if missing == 1 else 'images have'} no time"
        raise _refused(share, rule, "give each a time, or write data.audit.missing_times: drop")
    order = np.argsort(times, kind="stable")
    border = edge(times[order], len(rows) - round(len(rows) * share))
    if not 0 < border < len(rows):
        side = "future" if border else "past"
        rule = f"leaves no image of {len(rows)} for the {side}"
        raise _refused(
            share, rule, "change the share or add images; those of one time stay on one side"
        )
    past, future = np.sort(rows[order[:border]]), np.sort(rows[order[border:]])
    _check_classes(data, past, future, share)
    return past, future


def draw_past(
    data: ImageSet, *, split: SplitConfig, labels_per_class: int | None, share: float, seed: int
) -> tuple[Split, np.ndarray]:
    """The images before the future divided by `split` with this seed, and the rows of the future.

    All rows are those of `data`. Other seeds redraw every part, the test part too, but where parts
    are given or in time. Fractions are of the past.

    Raises:
        RequestError: the future cannot be set apart, the past cannot be divided (`draw_splits`), or
            the split has folds.
    """
    past, future, seeded = _past(data, split, share, seed)
    (parts,) = draw_splits(past, split=seeded, labels_per_class=labels_per_class, redraw=0)
    return parts, future


def draw_past_parts(data: ImageSet, *, split: SplitConfig, share: float, seed: int) -> Split:
    """The parts of `draw_past` whole and unchecked (`draw_parts`).

    Raises:
        RequestError: as `draw_past`.
    """
    past, _, seeded = _past(data, split, share, seed)
    (parts,) = draw_parts(past, split=seeded, redraw=0)
    return parts


def _past(
    data: ImageSet, split: SplitConfig, share: float, seed: int
) -> tuple[ImageSet, np.ndarray, SplitConfig]:
    if split.folds:
        rule = "a split that the future judges has one validation part"
        raise RequestError(str(Problem("data.split.folds", str(split.folds), rule, "write null")))
    past, future = set_future_apart(data, share=share)
    return replace(data, rows=past), future, split.model_copy(update={"seed": seed})


def _check_classes(data: ImageSet, past: np.ndarray, future: np.ndarray, share: float) -> None:
    """Refuse a future in which accuracy means nothing, or that nobody could have foretold."""
    classes = np.unique(data.labels[future])
    if len(classes) == 1:
        rule = f"the latest {len(future)} images are of one class only, "
        raise _refused(
            share,
            rule + shown(data.class_names[classes[0]]),
            "take a larger share, or give times: a file's order may be that of its classes",
        )
    unknown = np.setdiff1d(classes, data.labels[past])
    if len(unknown):
        rule = f"class {shown(data.class_names[unknown[0]])} is among the latest {len(future)} "
        raise _refused(share, rule + "images alone, so that none could be learnt from", _SMALLER)


def _refused(share: float, rule: str, remedy: str) -> RequestError:
    return RequestError(str(Problem(FIELD, str(share), rule, remedy)))
