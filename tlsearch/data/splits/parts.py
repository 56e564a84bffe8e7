"""What a split is, and what is wrong with one: the classes have names here."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tlsearch.data.images import ImageSet
from tlsearch.errors import Problem, RequestError
from tlsearch.study.complaints import shown
from tlsearch.study.data import SplitConfig


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
