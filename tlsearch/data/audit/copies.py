"""What duplicates do harm: different labels for one picture, leaks, weight without information."""

import numpy as np

from tlsearch.data.audit.findings import Kind, Listed
from tlsearch.data.audit.looking import (
    Found,
    class_of,
    concatenated,
    groups_of,
    names_of,
    number,
)
from tlsearch.data.images import TEST, TRAIN, VALIDATION, ImageSet

_PART_NAMES = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}


def conflicting_labels(data: ImageSet, rows: np.ndarray, exact: np.ndarray) -> Found | None:
    """Pictures that stand under different labels; `exact` (N,) is equal for the same picture.

    One of the labels is wrong, and nothing here tells which: all of them go, or none.
    """
    clashing = [g for g in groups_of(exact[rows], rows) if len(set(data.labels[g])) > 1]
    if not clashing:
        return None
    affected = concatenated(clashing)
    text = f"{number(len(clashing), 'picture')} under different labels, in {len(affected):,} images"
    return _found("conflicting_labels", data, clashing, affected, affected, text)


def exact_duplicates(
    data: ImageSet, rows: np.ndarray, exact: np.ndarray, *, given: bool
) -> Found | None:
    """The same picture under the same label, once is enough; the first stays, or in a `given` split
    the first of those that are held out.
    """
    keys = exact[rows] * data.num_classes + data.labels[rows]
    groups = groups_of(keys, rows)
    if not groups:
        return None
    extra = concatenated([_all_but_one(data, group, given=given) for group in groups])
    repeat = "repeats" if len(extra) == 1 else "repeat"
    text = f"{number(len(extra), 'image')} that {repeat} another under the same label"
    return _found("exact_duplicates", data, groups, extra, extra, text)


def near_conflicts(data: ImageSet, rows: np.ndarray, near: np.ndarray) -> Found | None:
    """Nearly the same picture under different labels; `near` (P, 2) are pairs of rows.

    Not among the conflicting labels, because two plain pictures that mean different things may
    look alike: a minus and an underscore.
    """
    usable = np.zeros(len(data.labels), bool)
    usable[rows] = True
    pairs = near[usable[near].all(axis=1)]
    pairs = pairs[data.labels[pairs[:, 0]] != data.labels[pairs[:, 1]]]
    if not len(pairs):
        return None
    affected = concatenated([pairs.ravel()])
    text = (
        f"{len(affected):,} images that look alike under different labels, in "
        f"{number(len(pairs), 'pair')}"
    )
    return _found("near_conflicts", data, list(pairs), affected, affected, text)


def near_duplicates(
    data: ImageSet, rows: np.ndarray, clusters: np.ndarray, *, given: bool
) -> Found | None:
    """Images of one cluster: nearly the same picture, or a chain of such."""
    groups = groups_of(clusters[rows], rows)
    if not groups:
        return None
    extra = concatenated([_all_but_one(data, group, given=given) for group in groups])
    affected = concatenated(groups)
    text = (
        f"{len(affected):,} images that look alike, in {number(len(groups), 'group')} of up to "
        f"{max(map(len, groups)):,}"
    )
    return _found("near_duplicates", data, groups, affected, extra, text)


def leakage(data: ImageSet, rows: np.ndarray, clusters: np.ndarray) -> Found | None:
    """Duplicates, exact or near, in different parts of a given split: what was trained on is then
    tested. Those of the test part stay, else those of validation.
    """
    parts = _parts(data)
    groups = [g for g in groups_of(clusters[rows], rows) if len(set(parts[g])) > 1]
    if not groups:
        return None
    extra = concatenated([g[parts[g] < parts[g].max()] for g in groups])
    tested = sum(parts[g].max() == TEST for g in groups)
    text = (
        f"{number(len(groups), 'picture')} in more than one part of the given split, {tested:,} of "
        "them in the test part"
    )
    affected = concatenated(groups)
    files = tuple(
        Listed(_names(data, g), ", ".join(_PART_NAMES[parts[r]] for r in g)) for g in groups
    )
    return Found("leakage", len(affected), extra, text, files)


def _found(
    kind: Kind,
    data: ImageSet,
    groups: list[np.ndarray],
    affected: np.ndarray,
    droppable: np.ndarray,
    text: str,
) -> Found:
    name = class_of(data)
    files = []
    for group in groups:
        labels = dict.fromkeys(name(row) for row in group)
        each = [name(row) for row in group] if len(labels) > 1 else labels
        files.append(Listed(_names(data, group), ", ".join(each)))
    return Found(kind, len(affected), droppable, text, tuple(files))


def _names(data: ImageSet, rows: np.ndarray) -> tuple[str, ...]:
    name = names_of(data)
    return tuple(name(row) for row in rows)


def _all_but_one(data: ImageSet, group: np.ndarray, *, given: bool) -> np.ndarray:
    stays = int(_parts(data)[group].argmax()) if given else 0
    return np.delete(group, stays)


def _parts(data: ImageSet) -> np.ndarray:
    """The given part (N,) of each image; what has none may be trained on."""
    assert data.parts is not None
    return np.where(data.parts < 0, TRAIN, data.parts)
