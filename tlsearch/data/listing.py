"""What a source of files says of them before any is opened."""

import os
import re
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from tlsearch.data.images import TEST, TRAIN, VALIDATION, Failure
from tlsearch.errors import Problem, RequestError

PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""Parts of a split by the names that people give them, in small letters."""


class Listing(NamedTuple):
    """Image files with their labels, in the order that the set will have.

    `paths` opens them, `names` is for people; `labels` int64 index `class_names`; `columns` are
    further fields of an ImageSet, each of the same length; `failures` gave no image.
    """

    paths: tuple[str, ...]
    names: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    columns: dict[str, np.ndarray]
    failures: tuple[Failure, ...]


NaturalKey = tuple[tuple[tuple[bool, int, str], ...], str]


def natural_key(text: str) -> NaturalKey:
    """Sorts `img2` before `img10`, whatever the case and the form of the accents."""
    composed = unicodedata.normalize("NFC", text)
    pieces = re.split(r"([0-9]+)", composed.casefold())
    told = tuple((not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces if p)
    return told, composed


def label_indices(labels: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Indices int64 (N,) of the labels, and their names in natural order."""
    listed = list(labels)
    names = tuple(sorted(set(listed), key=natural_key))
    index = {name: i for i, name in enumerate(names)}
    return np.asarray([index[label] for label in listed], dtype=np.int64), names


def printable(name: str) -> str:
    """A file's name as text that any output takes: bytes that are no UTF-8 are spelled out, and
    accents are composed, since systems write the same name in two ways.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name)


def refused(field: str, value: str, rule: str, remedy: str) -> RequestError:
    """The error about a field of the study."""
    return RequestError(str(Problem(field, value, rule, remedy)))


def several_classes(names: tuple[str, ...], *, field: str, value: str, remedy: str) -> None:
    """Refuse a source with fewer than two classes.

    Raises:
        RequestError: there is but one.
    """
    if len(names) == 1:
        rule = f"all images are of one class, {names[0]!r}, so there is nothing to tell apart"
        raise refused(field, value, rule, remedy)
