"""What `tlsearch init` sees of a folder or a table without decoding its images."""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tlsearch.config.images import DataConfig
from tlsearch.config.sources import Folder, Manifest, NamePattern
from tlsearch.data.cache import Listing
from tlsearch.data.dataset import TRAIN
from tlsearch.data.decode import formats, quiet_pillow
from tlsearch.data.folder import TABLES, copies_by_name, is_named_as_image, list_folder
from tlsearch.data.layout import PART_NAMES
from tlsearch.data.table import Table, list_manifest, ones_of, read_table, several_labels
from tlsearch.errors import RequestError

_HEADERS = 64  # images whose size is read, spread over all

# Names that columns have in the wild, best first; compared without case, blanks and underscores.
_USUAL: Mapping[str, str] = {
    "image": "path filepath imagepath imgpath file filename imagefile imagefilename image img "
    "imagename fname location imageid idcode isicid id",
    "label": "label labels class classname category target y classlabel labelname diagnosis dx "
    "species breed tag",
    "time": "time timestamp datetime date takenat capturedat createdat acquired acquisitiondate "
    "taken studydate day year",
    "group": "group groupid patient patientid subject subjectid person personid case caseid site "
    "camera cameraid scene sceneid session sessionid sequence sequenceid video videoid user userid "
    "lesionid slide slideid",
    "part": "split part subset partition set dataset fold usage",
}


class Survey(NamedTuple):
    """What there is; `images` per class in the order of the study's classes, `trained` those of
    the training part where the source names parts, and `sizes` of some images, width and height.

    `has_times`: every image has one. `unlabelled` images and `left_out`, all other files and rows
    that give no image. `first` is the path of the first image; `notes` are sentences on how the
    source was read.
    """

    source: Folder | Manifest
    images: dict[str, int]
    trained: dict[str, int]
    parts: frozenset[int]
    num_groups: int | None
    has_times: bool
    unlabelled: int
    left_out: int
    first: str
    sizes: tuple[tuple[int, int], ...]
    notes: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """All images."""
        return sum(self.images.values())

    @property
    def smallest(self) -> int:
        """Images of the smallest class."""
        return min(self.images.values())

    @property
    def imbalance(self) -> float:
        """Largest / smallest class."""
        return max(self.images.values()) / self.smallest

    @property
    def side(self) -> int | None:
        """Median of the images' shorter sides, pixels; None where no header could be read."""
        return round(median(min(size) for size in self.sizes)) if self.sizes else None


def survey(path: Path) -> Survey:
    """Look at a folder of class folders, or at a CSV or Parquet table.

    Raises:
        RequestError: it is not there, is neither, or holds no two classes of images.
    """
    if path.is_dir():
        found = _folder(path)
    elif not path.exists():
        raise RequestError(f"{path}: is not there — paths start from {Path.cwd()}")
    elif path.suffix.lower() in TABLES:
        found = _table(path)
    else:
        raise RequestError(
            f"{path}: is neither a folder nor a table — name a folder with a subfolder of images "
            "for each class, or a .csv or .parquet file with a row for each image"
        )
    if not found.sizes:
        raise RequestError(
            f"{path}: none of the images that were tried can be opened, the first is "
            f"{found.first!r} — {_REMEDIES[type(found.source)]}"
        )
    return found


_REMEDIES: Mapping[type, str] = {
    Folder: "are these images?",
    Manifest: "paths in a table start from the folder that it is in; move it there",
}


def _folder(path: Path) -> Survey:
    """A folder, with groups where names are those of augmented copies."""
    listing, group = list_folder(path, level=None), None
    if pattern := copies_by_name(listing.names).pattern:
        group = NamePattern(pattern=pattern)
        listing = list_folder(path, level=None, group=group)
    return _survey_of(Folder(path=str(path), group=group), listing)


def _table(path: Path) -> Survey:
    """A table, with the optional columns that can be read."""
    table = read_table(path, field="PATH")
    head = table.columns
    source = guessed_columns(path, table)
    pattern = copies_by_name(head[source.image]).pattern
    if pattern and "group" not in source.model_fields_set:
        source = source.model_copy(update={"group": NamePattern(pattern=pattern)})
    try:
        return _survey_of(source, list_manifest(DataConfig(source=source)))
    except RequestError:
        # A column that was only guessed to be a time, say, is better left out than a hindrance.
        for field in ("time", "group"):
            if field in source.model_fields_set:
                with suppress(RequestError):
                    kept = Manifest(**{**source.model_dump(exclude_unset=True), field: None})
                    return _survey_of(kept, list_manifest(DataConfig(source=kept)))
        raise


def guessed_columns(path: Path, table: Table) -> Manifest:
    """Which columns of the table mean what, by their names; the classes also by columns of 0 and 1.

    Raises:
        RequestError: none looks like the images' paths, or none like their labels.
    """
    head = table.columns
    known = {re.sub(r"[\s_\-.]+", "", name).casefold(): name for name in reversed(list(head))}
    found: dict[str, Any] = {
        field: next((known[word] for word in words.split() if word in known), None)
        for field, words in _USUAL.items()
    }
    by_content = next((name for name, values in head.items() if _are_images(values)), None)
    image = found["image"]
    if image is None or (by_content is not None and not _are_images(head[image])):
        found["image"] = by_content
    part = found["part"]
    unread: dict[str, Any] = {}
    if part is not None and not _are_parts(head[part]):
        found["part"] = None  # a number of a fold, say
        unread = {"part": None}
    if found["label"] is None:
        found["label"] = _class_columns(path, table, taken=set(found.values()))
    for field, what in (("image", "paths of the images"), ("label", "names of the classes")):
        if found[field] is None:
            raise RequestError(
                f"{path}: no column looks like the {what}; there are "
                f"{', '.join(map(repr, list(head)[:12]))} — rename it to "
                f"{Manifest.model_fields[field].default}, or "
                f"write a study with source: {{manifest: {{path: …, {field}: its name}}}}"
            )
    named: dict[str, Any] = {k: name for k, name in found.items() if name is not None}
    return Manifest(path=str(path), **named, **unread)


def _class_columns(path: Path, table: Table, *, taken: Collection[str]) -> list[str] | None:
    """The columns of 0 and 1 that are not `taken` for something else, if a row has one 1 at most.

    Raises:
        RequestError: rows have several.
    """
    names = [name for name in table.columns if name not in taken and ones_of(table, [name])]
    ones = ones_of(table, names) or []
    if len(names) < 2 or not any(ones):
        return None
    if several := [i for i, found in enumerate(ones) if len(found) > 1]:
        first = f"{table.places[several[0]]}: {', '.join(ones[several[0]])}"
        rule, remedy = several_labels(len(several), first)
        raise RequestError(f"{path}: {rule} — {remedy}")
    return names


def _are_images(values: Sequence[str]) -> bool:
    written = [value for value in values if value]
    named = [value for value in written if is_named_as_image(value)]
    return len(named) > len(written) / 2


def _are_parts(values: Sequence[str]) -> bool:
    written = {value.strip().lower() for value in values if value}
    return bool(written) and written <= set(PART_NAMES)


def _survey_of(source: Folder | Manifest, listing: Listing) -> Survey:

    def counts(labels: np.ndarray) -> dict[str, int]:
        names = listing.class_names
        return dict(zip(names, np.bincount(labels, minlength=len(names)).tolist(), strict=True))

    parts, groups, times = (listing.columns.get(c) for c in ("parts", "groups", "times"))
    unlabelled = sum(failure.kind == "missing_labels" for failure in listing.failures)
    trained = listing.labels if parts is None else listing.labels[parts == TRAIN]
    return Survey(
        source=source,
        images=counts(listing.labels),
        trained=counts(trained),
        parts=frozenset() if parts is None else frozenset(np.unique(parts).tolist()) - {-1},
        num_groups=None if groups is None else len(np.unique(groups)),
        has_times=times is not None and bool(np.isfinite(times).all()),
        unlabelled=unlabelled,
        left_out=len(listing.failures) - unlabelled,
        first=listing.paths[0],
        sizes=_sizes(listing.paths),
        notes=listing.notes,
    )


def _sizes(paths: Sequence[str]) -> tuple[tuple[int, int], ...]:
    """Width and height of some images, from their headers; unreadable ones are the audit's."""
    found = []
    chosen = np.unique(np.linspace(0, len(paths) - 1, _HEADERS).round().astype(int))
    with quiet_pillow():
        for i in chosen.tolist():
            if not Path(paths[i]).is_file():  # a pipe would be waited for
                continue
            try:
                with Image.open(paths[i], formats=formats()) as image:
                    found.append(image.size)
            except Exception:  # noqa: S112 — Pillow's decoders raise a dozen kinds
                continue
    return tuple(found)
