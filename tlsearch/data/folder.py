"""A folder with a subfolder of images per class, perhaps below train, val and test.

Links are followed, each folder once: what lies in the folder itself comes first, then links in
natural order; one to a folder that was read already, or that holds this one, is named and left.
"""

import glob
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlsearch.config.images import DataConfig
from tlsearch.config.paths import expanded
from tlsearch.config.runtime import OnProgress
from tlsearch.config.sources import Folder, NamePattern, source_text
from tlsearch.data.cache import Listing, read_files
from tlsearch.data.dataset import Failure, ImageSet
from tlsearch.data.decode import OTHER_SUFFIXES
from tlsearch.data.layout import LayoutError, arranged, parts_named
from tlsearch.errors import RequestError, refused

NaturalKey = tuple[tuple[tuple[bool, int, str], ...], str]


def natural_key(text: str) -> NaturalKey:
    """Sorts `img2` before `img10`, whatever the case and the form of the accents."""
    composed = unicodedata.normalize("NFC", text)
    pieces = re.split(r"([0-9]+)", composed.casefold())
    key = tuple((not p.isdecimal(), int(p) if p.isdecimal() else 0, p) for p in pieces if p)
    return key, composed


def label_indices(labels: Iterable[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Indices int64 (N,) of the labels, and their names in natural order."""
    listed = list(labels)
    names = tuple(sorted(set(listed), key=natural_key))
    index = {name: i for i, name in enumerate(names)}
    return np.asarray([index[label] for label in listed], dtype=np.int64), names


def group_indices(names: Sequence[str]) -> np.ndarray:
    """Numbers int64 (N,) of the groups by their natural order; who has none is one of its own."""
    named = np.array([bool(name) for name in names], bool)
    groups = np.empty(len(named), np.int64)
    groups[named], distinct = label_indices(name for name in names if name)
    groups[~named] = len(distinct) + np.arange((~named).sum())
    return groups


def pattern_groups(
    by: NamePattern, paths: Sequence[str], *, field: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """`group_indices` of what `by` finds in the paths, and a sentence on them.

    Raises:
        RequestError: it finds nothing in any of them.
    """
    expression = re.compile(by.pattern)
    matches = [expression.search(path) for path in paths]
    names = [(m[1 if expression.groups else 0] or "") if m else "" for m in matches]
    alone = names.count("")
    if alone == len(names):
        rule = f"finds nothing in any of {alone:,} paths, the first is {paths[0]!r}"
        raise refused(f"{field}.pattern", by.pattern, rule, "correct the pattern")
    note = f"the pattern of names makes {len(set(names) - {''}):,} groups"
    note += f"; it finds nothing in {alone:,} paths, each a group of its own" if alone else ""
    return group_indices(names), (note,)


def printable(name: str) -> str:
    """A file's name as text that any output takes: bytes that are no UTF-8 are spelled out, and
    accents are composed, since systems write the same name in two ways.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        name = os.fsencode(name).decode("utf-8", "backslashreplace")
    return unicodedata.normalize("NFC", name)


def several_classes(names: tuple[str, ...], *, field: str, value: str, remedy: str) -> None:
    """Refuse a source with fewer than two classes.

    Raises:
        RequestError: there is only one.
    """
    if len(names) == 1:
        rule = f"all images are of one class, {names[0]!r}, and a classifier needs two"
        raise refused(field, value, rule, remedy)


def combined_classes(names: Sequence[str]) -> tuple[str, ...]:
    """A sentence on classes whose names are made of others' names, if there are any."""
    known = {name.casefold() for name in names}
    found = []
    for name in names:
        splits = (re.split(by, name.casefold()) for by in (r"\s*[,;|+&/]\s*", r"[\s_-]+"))
        if words := next((w for w in splits if len(w) > 1 and known.issuperset(w)), None):
            found.append(f"{name!r} of {' and '.join(map(repr, words))}")
    if not found:
        return ()
    count = "a class is" if len(found) == 1 else f"{len(found)} classes are"
    return (
        f"{count} made of others, such as {found[0]}: each counts as a class of its own, since "
        "several labels for one image are not supported",
    )


FIELD = "data.source.folder.path"
_JPEG = {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".jpx"}
_PLAIN = {".png", ".gif", ".bmp", ".dib", ".ppm", ".pgm", ".pbm", ".pnm"}
SUFFIXES = frozenset(_JPEG | _PLAIN | {".tif", ".tiff", ".webp", ".avif"} | OTHER_SUFFIXES)
"""A file is taken for an image by its name; whether it is one shows when it is decoded."""

_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "@eadir"}
TABLES = (".csv", ".tsv", ".parquet", ".pq")
"""Suffixes of tables."""

_LAYOUT = "put the images of each class into a folder of its own"

Steps = tuple[str, ...]
"""The way from the root to a file: names of folders, then its own."""

_Identity = tuple[int, int]  # device and inode


def read_folder(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    """The folder's images, decoded once and kept below `cache`.

    Raises:
        RequestError: as `list_folder`, or fewer than two classes have an image that can be read.
        WorkError: the cache cannot be written.
    """
    assert isinstance(data.source, Folder)
    on_progress(0.0, f"listing {source_text(data.source)}")
    source = data.source
    listing = list_folder(expanded(source.path), level=source.classes_level, group=source.group)
    return read_files(listing, data, cache, on_progress, field=FIELD)


def list_folder(path: Path, *, level: int | None, group: NamePattern | None = None) -> Listing:
    """The folder's images with their classes, in natural order; `level` as `arranged` takes it.

    Raises:
        RequestError: there is no such folder, it holds no two classes of images, or its pattern of
            groups finds nothing.
    """
    shown = str(path)
    if not path.is_dir():
        if path.exists():
            remedy = "give a folder, or for a table write source: {manifest: …}"
            raise refused(FIELD, shown, "is no folder", remedy)
        raise refused(FIELD, shown, "is not there", f"paths start from {Path.cwd()}")
    found = _Walk(path)
    images, failures = sorted(found.images, key=_order), found.failures
    if not images:
        others = f", but {len(failures)} other files" if failures else ""
        raise refused(FIELD, shown, f"holds no images{others}", _LAYOUT)
    try:
        layout = arranged([steps[:-1] for steps in images], level=level)
    except LayoutError as error:
        remedy = error.remedy or _labels_elsewhere(path, failures)
        raise refused(FIELD, shown, str(error), remedy) from error
    labelled = [i for i, name in enumerate(layout.classes) if name is not None]
    failures += [
        Failure("missing_labels", _name(images[i]), layout.reasons[i])
        for i, name in enumerate(layout.classes)
        if name is None
    ]
    labels, class_names = label_indices(printable(str(layout.classes[i])) for i in labelled)
    remedy = "put folders of images side by side, one for each class"
    several_classes(class_names, field=FIELD, value=shown, remedy=remedy)
    columns, notes = {}, (*layout.notes, *combined_classes(class_names))
    if layout.parts is not None:
        columns["parts"] = np.asarray(layout.parts, np.int8)[labelled]
    if group is not None:
        below = [images[i][images[i].index(str(layout.classes[i])) :] for i in labelled]
        columns["groups"], more = pattern_groups(
            group, _without_parts(map(_name, below)), field="data.source.folder.group"
        )
        notes += more
    return Listing(
        paths=tuple(str(path.joinpath(*images[i])) for i in labelled),
        names=tuple(_name(images[i]) for i in labelled),
        labels=labels,
        class_names=class_names,
        columns=columns,
        failures=tuple(sorted(failures, key=lambda failure: natural_key(failure.name))),
        notes=notes,
    )


def _labels_elsewhere(path: Path, failures: Sequence[Failure]) -> str:
    """What to do about images without class folders: tables beside them may hold their labels."""
    tables = [f.name for f in failures if f.name.lower().endswith(TABLES)]
    if not tables:
        return f"{_LAYOUT}, or write source: {{manifest: …}}"
    if len(tables) == 1:
        return f"are the labels in {tables[0]}? Then write source: {{manifest: {path / tables[0]}}}"
    named = ", ".join(sorted(tables, key=natural_key)[:3])
    return (
        f"are the labels in {named}? Then put them into one table, with a column split for the "
        "part, and write source: {manifest: …}"
    )


def _order(steps: Steps) -> tuple[tuple[NaturalKey, ...], Steps]:
    """Natural order; among names that differ in how accents are written, by their bytes."""
    return tuple(map(natural_key, steps)), steps


def _name(steps: Steps) -> str:
    return printable("/".join(steps))


_EXPORTED = (
    r"[._](?:jpe?g|png|bmp|gif|tiff?|webp|heic)"
    r"(?:\.rf\.\w+|_[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
)
"""What Roboflow (`12_jpg.rf.0a1b.jpg`) and Augmentor (`cat_original_12.jpg_UUID.jpg`) append."""
_CHANGES = (
    r"aug(?:mented|mentation)? (?:rand(?:om)?)?[hvxy]?_?flip(?:ped)?(?:_?(?:lr|ud|tb|[hvxy]))? "
    r"mirror(?:ed)? (?:new)?\d+_?deg(?:rees?)? rot(?:ate|ated|ation)? turn(?:ed)? shift(?:ed)? "
    r"shear(?:ed)? zoom(?:ed)? (?:rand(?:om)?)?crop(?:ped)? scaled? transl(?:ate|ated|ation) "
    r"affine bright(?:ness|er|ened)? dark(?:er|ened)? contrast gamma hue saturat(?:ion|ed) "
    r"(?:colou?r)?jitter (?:gauss(?:ian)?)?noise noisy blur(?:red)? sharp(?:en|ened)? cutout copy"
)
_DIGITS = r"[-_. ()\d]*"


def _changed(words: Sequence[str]) -> str:
    """Such words behind a separator, one or several, perhaps with numbers: `_flip_rot90`."""
    return rf"[-_. ]+(?:(?:{'|'.join(words)}){_DIGITS})+"


_SUFFIX = re.compile(rf"(?:(?P<exported>{_EXPORTED})|{_changed(_CHANGES.split())})$", re.IGNORECASE)


class NamedCopies(NamedTuple):
    """`first` int64 (N,): the lowest row whose name is the same but for an augmentation's suffix;
    `pattern`, a regular expression that finds what they share, "" where none is a copy.
    """

    first: np.ndarray
    pattern: str


def copies_by_name(names: Sequence[str]) -> NamedCopies:
    """Names that differ by an augmentation's suffix alone, whatever the part of a split.

    A word such as crop counts only behind what tells pictures apart: a name with a number, or one
    that is there without it. Otherwise `tissue_crop_1` to `_900` would be one picture.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    suffixes: dict[str, list[re.Match[str]]] = defaultdict(list)
    plain = set()
    for row, name in enumerate(_without_parts(names)):
        path = os.path.splitext(name)[0]
        match = _SUFFIX.search(path)
        stem = path[: match.start()] if match else path
        groups[stem].append(row)
        if match:
            suffixes[stem].append(match)
        else:
            plain.add(stem)
    first, found = np.arange(len(names)), []
    for stem, own in suffixes.items():
        has_number = re.search(r"\d", stem.rpartition("/")[2]) is not None
        is_known = has_number or stem in plain or any(match["exported"] for match in own)
        if is_known and len(groups[stem]) > 1:
            first[groups[stem]] = groups[stem][0]
            found += own
    return NamedCopies(first, _pattern(found))


def _without_parts(names: Iterable[str]) -> list[str]:
    """The paths without the folders that are parts of a split."""
    paths = [name.split("/") for name in names]
    parts = parts_named({step for path in paths for step in path[:-1]})
    return ["/".join([*(s for s in path[:-1] if s not in parts), path[-1]]) for path in paths]


def _pattern(suffixes: Sequence[re.Match[str]]) -> str:
    """An expression whose first (…) is a name without such suffixes."""
    exported = [match[0] for match in suffixes if match["exported"]]
    kinds = [r"[._]\w+\.rf\.\w+"] * any(".rf." in one for one in exported)
    kinds += [r"[._]\w+_[-0-9a-f]{36}"] * any(".rf." not in one for one in exported)
    others = {match[0].lower() for match in suffixes if not match["exported"]}
    words = [word for word in _CHANGES.split() if any(re.search(word, other) for other in others)]
    kinds += [f"(?i:{_changed(words)})"] if words else []
    return rf"^(.+?)(?:{'|'.join(kinds)})?\.\w+$" if kinds else ""


class _Walk:
    """All files below `root`, apart from hidden ones; `others` are those without an image's suffix,
    which are among the failures as well.
    """

    def __init__(self, root: Path) -> None:
        self.images: list[Steps] = []
        self.others: list[Steps] = []
        self.failures: list[Failure] = []
        self._root = root
        self._entered = {_identity(os.stat(root))}
        self._around = {_identity(os.stat(parent)) for parent in root.resolve().parents}
        self._folders: list[Steps] = [()]
        self._links: list[Steps] = []
        while self._folders or self._links:
            if self._folders:
                self._list(self._folders.pop())
            else:
                self._links.sort(key=_order, reverse=True)
                self._follow(self._links.pop())

    def _list(self, folder: Steps) -> None:
        try:
            with os.scandir(self._root.joinpath(*folder)) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name.lower() in _CLUTTER:
                        continue
                    steps = (*folder, entry.name)
                    if entry.is_symlink():
                        self._links.append(steps)
                    else:
                        self._add(steps, entry.stat(follow_symlinks=False), closed=self._entered)
        except OSError as error:
            reason = f"this folder cannot be read: {error.strerror or error}"
            self.failures.append(Failure("unreadable", _name(folder) or ".", reason))

    def _follow(self, link: Steps) -> None:
        try:
            target = os.stat(self._root.joinpath(*link))
        except OSError:
            if is_named_as_image(link[-1]):
                self.images.append(link)  # named by whoever opens it
            else:
                why = "a link that leads nowhere"
                self.failures.append(Failure("not_an_image", _name(link), why))
        else:
            self._add(link, target, closed=self._entered | self._around)

    def _add(self, steps: Steps, found: os.stat_result, *, closed: set[_Identity]) -> None:
        """Take a file, or a folder that is none of the `closed` ones."""
        suffix = os.path.splitext(steps[-1])[1]
        if stat.S_ISDIR(found.st_mode):
            identity = _identity(found)
            if identity not in closed:
                self._entered.add(identity)
                self._folders.append(steps)
                return
            where = "that is read already" if identity in self._entered else "around this one"
            reason = f"leads to a folder {where}"
        elif not stat.S_ISREG(found.st_mode):
            reason = "no file"
        elif is_named_as_image(steps[-1]):
            self.images.append(steps)
            return
        else:
            self.others.append(steps)
            reason = f"its suffix {suffix} names no image" if suffix else "its name has no suffix"
        self.failures.append(Failure("not_an_image", _name(steps), reason))


def is_named_as_image(name: str) -> bool:
    """Whether the suffix is that of an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _identity(found: os.stat_result) -> _Identity:
    return found.st_dev, found.st_ino


def find_files(named: Sequence[str]) -> Iterator[Path]:
    """The files that `named` means, one by one: a file as it is; a folder's files in natural order,
    whatever their suffix, those of its subfolders included, but no hidden ones, and none where
    no file is named as an image; a pattern's matches.

    Raises:
        RequestError: at once, if a name is neither a file, a folder nor a pattern that matches.
    """
    places = [place for name in named for place in _places(name)]
    return (file for place in places for file in _files(place))


def _files(place: Path) -> Iterator[Path]:
    if not place.is_dir():
        return iter([place])
    found = _Walk(place)
    listed = found.images + found.others if found.images else []
    return (place.joinpath(*steps) for steps in sorted(listed, key=_order))


def _places(name: str) -> list[Path]:
    path = expanded(name)
    try:
        if path.exists() or path.is_symlink():
            return [path]
        found = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]
    except (OSError, ValueError):  # longer than a name may be, or holding a null
        found = []
    if not found:
        what = "no file matches this pattern" if glob.has_magic(name) else "no such file or folder"
        raise RequestError(f"{name}: {what}, seen from {Path.cwd()}")
    return found
