"""A folder with a subfolder of images per class, perhaps below train, val and test.

Links are followed, each folder once: what lies in the folder itself comes first, then links in
natural order; one to a folder that was read already, or that holds this one, is named and left.
"""

import glob
import os
import re
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlsearch.config.paths import expanded
from tlsearch.data.dataset import TEST, TRAIN, VALIDATION, Failure
from tlsearch.errors import Problem, RequestError

# What a source of files says of them before any is opened.


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


FIELD = "data.source.folder.path"
_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".jpx"}
_PLAIN = {".png", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"}
SUFFIXES = frozenset(_JPEG | _PLAIN | {".tif", ".tiff", ".webp", ".avif"})
"""A file is taken for an image by its name; whether it is one shows when it is decoded."""

_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
_LAYOUT = "put the images of each class into a folder of its own"

Steps = tuple[str, ...]
"""The way from the root to a file: names of folders, then its own."""


class _Found(NamedTuple):
    images: list[Steps]
    failures: list[Failure]


def list_folder(path: Path) -> Listing:
    """The folder's images with their classes, in natural order.

    Raises:
        RequestError: there is no such folder, or it holds no two classes of images.
    """
    shown = str(path)
    if not path.is_dir():
        if path.exists():
            remedy = "give a folder, or for a table write source: {manifest: …}"
            raise refused(FIELD, shown, "is no folder", remedy)
        raise refused(FIELD, shown, "is not there", f"paths start from {Path.cwd()}")
    images, failures = _walk(path)
    images.sort(key=_order)
    if not images:
        others = f", but {len(failures)} other files" if failures else ""
        raise refused(FIELD, shown, f"holds no images{others}", _LAYOUT)
    if all(len(steps) == 1 for steps in images):
        rule = "holds images, but no folders that name their classes"
        raise refused(FIELD, shown, rule, f"{_LAYOUT}, or write source: {{manifest: …}}")
    depth = 1 if _has_parts(images) else 0
    if not depth:
        _refuse_half_parts(shown, images)
    labelled = [steps for steps in images if len(steps) > depth + 1]
    failures += [
        Failure("missing_labels", _name(steps), "lies in no folder that names its class")
        for steps in images
        if len(steps) <= depth + 1
    ]
    labels, class_names = label_indices(printable(steps[depth]) for steps in labelled)
    several_classes(class_names, field=FIELD, value=shown, remedy="add a folder of another class")
    parts = np.asarray([PART_NAMES[s[0].lower()] for s in labelled] if depth else [], np.int8)
    return Listing(
        paths=tuple(str(path.joinpath(*steps)) for steps in labelled),
        names=tuple(_name(steps) for steps in labelled),
        labels=labels,
        class_names=class_names,
        columns={"parts": parts} if depth else {},
        failures=tuple(sorted(failures, key=lambda failure: natural_key(failure.name))),
    )


def _has_parts(images: list[Steps]) -> bool:
    """Whether the top folders are the parts of a split: all that hold images are named so."""
    heads = {steps[0].lower() for steps in images if len(steps) > 1}
    return heads <= set(PART_NAMES) and any(len(steps) > 2 for steps in images)


def _refuse_half_parts(shown: str, images: list[Steps]) -> None:
    """A part may well be the name of a class; several of them beside another folder are a slip."""
    heads = {steps[0] for steps in images if len(steps) > 1}
    parts = sorted(head for head in heads if head.lower() in PART_NAMES)
    if len({PART_NAMES[head.lower()] for head in parts}) > 1 and len(heads) > len(parts):
        others = ", ".join(sorted(heads - set(parts))[:3])
        rule = f"holds the parts {', '.join(parts)}, and beside them {others}"
        raise refused(FIELD, shown, rule, "move the other folders into a part, or away")


def _order(steps: Steps) -> tuple[tuple[NaturalKey, ...], Steps]:
    """Natural order; among names that differ in how accents are written, by their bytes."""
    return tuple(map(natural_key, steps)), steps


def _name(steps: Steps) -> str:
    return printable("/".join(steps))


def _walk(root: Path) -> _Found:
    """All files below `root`, apart from hidden ones."""
    found = _Found([], [])
    entered = {_identity(os.stat(root))}
    around = {_identity(os.stat(parent)) for parent in root.resolve().parents}
    folders: list[Steps] = [()]
    links: list[Steps] = []
    while folders or links:
        if folders:
            for steps, entry in _entries(root, folders.pop(), found):
                _sort(steps, entry, found, folders, links, entered)
            continue
        links.sort(key=_order, reverse=True)
        _follow(root, links.pop(), found, folders, entered, around)
    return found


def _entries(root: Path, folder: Steps, found: _Found) -> Iterator[tuple[Steps, os.DirEntry[str]]]:
    try:
        with os.scandir(root.joinpath(*folder)) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name.lower() not in _CLUTTER:
                    yield (*folder, entry.name), entry
    except OSError as error:
        reason = f"this folder cannot be read: {error.strerror or error}"
        found.failures.append(Failure("unreadable", _name(folder) or ".", reason))


def _sort(
    steps: Steps,
    entry: os.DirEntry[str],
    found: _Found,
    folders: list[Steps],
    links: list[Steps],
    entered: set[tuple[int, int]],
) -> None:
    if entry.is_symlink():
        links.append(steps)
    elif entry.is_dir(follow_symlinks=False):
        _enter(steps, entry.stat(follow_symlinks=False), found, folders, entered, set())
    else:
        _add(steps, found, is_file=entry.is_file(follow_symlinks=False))


def _follow(
    root: Path,
    steps: Steps,
    found: _Found,
    folders: list[Steps],
    entered: set[tuple[int, int]],
    around: set[tuple[int, int]],
) -> None:
    try:
        target = os.stat(root.joinpath(*steps))
    except OSError:
        reason = "a link that leads nowhere"
        if _is_named_as_image(steps):
            found.failures.append(Failure("unreadable", _name(steps), reason))
        else:
            found.failures.append(Failure("not_an_image", _name(steps), reason))
        return
    if not stat.S_ISDIR(target.st_mode):
        _add(steps, found, is_file=stat.S_ISREG(target.st_mode))
        return
    _enter(steps, target, found, folders, entered, around)


def _enter(
    steps: Steps,
    target: os.stat_result,
    found: _Found,
    folders: list[Steps],
    entered: set[tuple[int, int]],
    around: set[tuple[int, int]],
) -> None:
    identity = _identity(target)
    if identity in entered | around:
        where = "that is read already" if identity in entered else "around this one"
        found.failures.append(Failure("not_an_image", _name(steps), f"leads to a folder {where}"))
        return
    entered.add(identity)
    folders.append(steps)


def _add(steps: Steps, found: _Found, *, is_file: bool) -> None:
    if is_file and _is_named_as_image(steps):
        found.images.append(steps)
        return
    suffix = os.path.splitext(steps[-1])[1]
    reason = f"its suffix {suffix} names no image" if suffix else "its name has no suffix"
    failure = Failure("not_an_image", _name(steps), reason if is_file else "no file")
    found.failures.append(failure)


def _is_named_as_image(steps: Steps) -> bool:
    return os.path.splitext(steps[-1])[1].lower() in SUFFIXES


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


# Image files among all others: named one by one, by folder, or by pattern.


def find_images(named: Sequence[str]) -> Iterator[Path]:
    """The images that `named` means, one by one: a file as it is, whatever its suffix; a folder's
    by suffix, those of its subfolders included, sorted, hidden ones left out; a pattern's matches.

    Raises:
        RequestError: at once, if a name is neither a file, a folder nor a pattern that fits.
    """
    places = [place for name in named for place in _places(name)]
    return (file for place in places for file in _files(place))


def _places(name: str) -> list[Path]:
    path = expanded(name)
    try:
        if path.exists() or path.is_symlink():
            return [path]
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    except (OSError, ValueError):  # longer than a name may be, or holding a null
        found = []
    if not found:
        what = "no file fits this pattern" if glob.has_magic(name) else "no such file or folder"
        raise RequestError(f"{name}: {what}, seen from {Path.cwd()}")
    return found


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        yield place
        return
    seen: set[tuple[int, int]] = set()
    for folder, inner, names in os.walk(place, followlinks=True):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:  # a link into what was already walked
            inner.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES:
                yield Path(folder, name)
