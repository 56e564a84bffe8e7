"""Which images train, which choose, which are kept for the end.

The test part depends on the split's seed alone: neither the labels that training may use nor a
re-draw for a confirmation moves an image into or out of it. Fractions are of all images.
"""

from typing import NamedTuple

import numpy as np

from tlsearch.errors import Problem, RequestError
from tlsearch.study.data import SplitConfig
from tlsearch.study.seeds import derive_seed

_PARTS = 3


class Split(NamedTuple):
    """Sorted indices of the images in each part; disjoint."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class ClassShares(NamedTuple):
    """Images per class (classes,) in each part, and largest / smallest class of the train part."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    imbalance: float


def draw_split(
    labels: np.ndarray, *, split: SplitConfig, labels_per_class: int | None, redraw: int
) -> Split:
    """Train, validation and test among `labels` (N,).

    `redraw` 0 is the study's own; any other draws train and validation anew among the images that
    are not test. `labels_per_class` then thins the train part to so many of each class.

    Raises:
        RequestError: a part would be empty, a class is too small to be stratified, or has fewer
            images left to train on than `labels_per_class`.
    """
    num_test = round(len(labels) * split.test)
    num_validation = round(len(labels) * split.validation)
    num_train = len(labels) - num_test - num_validation
    for name, num in (("train", num_train), ("validation", num_validation), ("test", num_test)):
        if num < 1:
            raise _empty_part(name, len(labels), split)
    if split.strategy == "stratified":
        _check_class_sizes(labels)

    rng = np.random.default_rng(derive_seed(split.seed, "test"))
    everything = np.arange(len(labels))
    test = _draw(everything, labels, num_test, leave=_PARTS - 1, split=split, rng=rng)
    rest = np.setdiff1d(everything, test)
    rng = np.random.default_rng(derive_seed(split.seed, "validation", redraw))
    validation = _draw(rest, labels, num_validation, leave=_PARTS - 2, split=split, rng=rng)
    train = np.setdiff1d(rest, validation)
    if labels_per_class is not None:
        rng = np.random.default_rng(derive_seed(split.seed, "labels", redraw))
        train = _thin(train, labels, labels_per_class, rng)
    return Split(train, validation, test)


def class_shares(labels: np.ndarray, split: Split, num_classes: int) -> ClassShares:
    """How many images of each class lie in each part; the imbalance is infinite if one has none."""
    train, validation, test = (np.bincount(labels[part], minlength=num_classes) for part in split)
    imbalance = float(train.max() / train.min()) if train.min() > 0 else float("inf")
    return ClassShares(train, validation, test, imbalance)


def _draw(
    pool: np.ndarray,
    labels: np.ndarray,
    num: int,
    *,
    leave: int,
    split: SplitConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """`num` sorted indices out of `pool`; stratified, at least `leave` of each class stay in it."""
    if split.strategy == "random":
        return np.sort(rng.permutation(pool)[:num])
    _, members, counts = np.unique(labels[pool], return_inverse=True, return_counts=True)
    takes = _allocate(counts, num, leave, rng)
    order = rng.permutation(len(pool))
    order = order[np.argsort(members[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    rank = np.arange(len(pool)) - np.repeat(starts, counts)
    return np.sort(pool[order[rank < np.repeat(takes, counts)]])


def _allocate(counts: np.ndarray, num: int, leave: int, rng: np.random.Generator) -> np.ndarray:
    """How many to take of each class: proportional, by largest remainder, ties by lot.

    At least 1 and at most count - `leave` of each; the sum is `num` where these bounds allow it.
    """
    ideal = counts * (num / counts.sum())
    low, high = np.ones_like(counts), counts - leave
    takes: np.ndarray = np.clip(np.floor(ideal).astype(np.int64), low, high)
    while (missing := num - int(takes.sum())) != 0:
        step = 1 if missing > 0 else -1
        can_move = (takes < high) if step > 0 else (takes > low)
        if not can_move.any():
            break
        by_lot = rng.permutation(len(counts))
        worst_first = by_lot[np.argsort((step * (takes - ideal))[by_lot], kind="stable")]
        chosen = [c for c in worst_first if can_move[c]][: abs(missing)]
        takes[chosen] += step
    return takes


def _thin(
    train: np.ndarray, labels: np.ndarray, per_class: int, rng: np.random.Generator
) -> np.ndarray:
    """`per_class` of each class among `train`, by lot."""
    kept = []
    for label in np.unique(labels):
        members = train[labels[train] == label]
        if len(members) < per_class:
            rule = f"class {label} has {len(members)} images in the train part"
            remedy = "ask for fewer labels, or make the validation or test part smaller"
            raise RequestError(str(Problem("data.labels_per_class", str(per_class), rule, remedy)))
        kept.append(rng.permutation(members)[:per_class])
    return np.sort(np.concatenate(kept))


def _check_class_sizes(labels: np.ndarray) -> None:
    classes, counts = np.unique(labels, return_counts=True)
    smallest = int(counts.argmin())
    if counts[smallest] >= _PARTS:
        return
    count = "1 image" if counts[smallest] == 1 else f"{counts[smallest]} images"
    rule = f"class {classes[smallest]} has {count}; each of the {_PARTS} parts needs one"
    remedy = "add images of it, leave the class out, or use strategy: random"
    raise RequestError(str(Problem("data.split.strategy", "stratified", rule, remedy)))


def _empty_part(part: str, num_images: int, split: SplitConfig) -> RequestError:
    value = f"{{validation: {split.validation}, test: {split.test}}}"
    rule = f"leaves no image of {num_images} for the {part} part"
    remedy = "every part needs at least one image: change the fractions or add images"
    return RequestError(str(Problem("data.split", value, rule, remedy)))
