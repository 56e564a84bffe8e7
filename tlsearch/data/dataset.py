"""What every source of images gives: pixels as bytes, labels, and what else it knows of each."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from tlsearch.config.paths import atomic_write, write_text
from tlsearch.errors import WorkError

TRAIN, VALIDATION, TEST = 0, 1, 2
"""Values of `ImageSet.parts`; -1 where the source names none."""


class Files(NamedTuple):
    """What is known of the files behind images that were read from files; arrays of length N.

    `names` are paths as the source gives them (str), `sizes` int32 (N, 2) width and height before
    resizing, `digests` sha256 of the file's bytes as text (first 32 hex digits), `hashes` uint64
    a perceptual hash of the picture.
    """

    names: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray


class Failure(NamedTuple):
    """A file or row that gave no image, and why."""

    kind: Literal["unreadable", "missing_labels", "not_an_image"]
    name: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images uint8 (N, H, W, C), C 1 or 3, perhaps memory-mapped; labels int64 (N,) that index
    `class_names`. Arrays are read-only.

    What a source does not know is None: `times` float64 (N,), seconds or any number that orders,
    NaN where missing; `groups` int64 (N,); `parts` int8 (N,); `weights` float32 (N,), of the
    training loss; `pixel_file` is the .npy that `images` maps.

    The audit adds `clusters` int64 (N,), equal for near duplicates, which stay on one side of a
    split; `rows` int64, ascending, the images that may be used (None: all); and `suspects` bool
    (N,), images to leave out of training.

    `fingerprint` tells whether two sets hold the same in the same order.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    pixel_file: Path | None = None
    files: Files | None = None
    failures: tuple[Failure, ...] = ()
    times: np.ndarray | None = None
    groups: np.ndarray | None = None
    parts: np.ndarray | None = None
    weights: np.ndarray | None = None
    clusters: np.ndarray | None = None
    rows: np.ndarray | None = None
    suspects: np.ndarray | None = None

    @property
    def usable(self) -> np.ndarray:
        """Rows int64, ascending, of the images that may be used."""
        return np.arange(len(self.labels)) if self.rows is None else self.rows

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)


_COLUMNS = ("labels", "times", "groups", "parts", "weights", "clusters", "rows", "suspects")


def image_set(
    images: np.ndarray,
    labels: np.ndarray,
    class_names: tuple[str, ...],
    *,
    pixel_digest: bytes | None = None,
    **known: Any,
) -> ImageSet:
    """An ImageSet with its fingerprint; `known` are its further fields. Whoever has the sha256 of
    the pixels already gives it as `pixel_digest`: mapped ones need not be read.
    """
    pixels = np.ascontiguousarray(images).view()
    indices = np.ascontiguousarray(labels, dtype=np.int64).view()
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 4
    assert len(pixels) == len(indices)
    digest = hashlib.sha256(repr((pixels.shape, class_names)).encode())
    digest.update(pixel_digest or hashlib.sha256(pixels.data).digest())
    digest.update(indices.data)
    pixels.flags.writeable = indices.flags.writeable = False
    found = ImageSet(
        images=pixels, labels=indices, class_names=class_names, fingerprint=digest.hexdigest()[:16]
    )
    return with_columns(found, **known) if known else found


def with_columns(data: ImageSet, **known: Any) -> ImageSet:
    """The set with further fields, and a fingerprint that covers those that a study depends on."""
    told = replace(data, **known)
    columns = {name: known[name] for name in _COLUMNS if known.get(name) is not None}
    if not columns and "class_names" not in known:
        return told
    digest = hashlib.sha256(data.fingerprint.encode())
    for name, column in columns.items():
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    if "class_names" in known:
        digest.update(repr(known["class_names"]).encode())
    return replace(told, fingerprint=digest.hexdigest()[:16])


# A set of images on disk, in a folder of its own: the columns, and pixels that workers map.
#
# Pixels that lie in a file already are not copied, but pointed to.


_ARRAYS = ("labels", "times", "groups", "parts", "weights", "clusters", "rows", "suspects")
_FACTS = "set.json"


def save(data: ImageSet, folder: Path) -> Path:
    """Write `data` into a folder named by its fingerprint below `folder`; found ones are kept.

    Raises:
        WorkError: the disk is full or the folder may not be written.
    """
    place = folder / data.fingerprint
    try:
        place.mkdir(parents=True, exist_ok=True)
        with FileLock(place / "lock"):
            if not _is_whole(place, data):
                _write(place, data)
    except OSError as error:
        raise WorkError(
            f"{error.filename or place}: cannot be written ({error.strerror or error}) — free some "
            "disk space, then run again"
        ) from error
    return place


def load(place: Path) -> ImageSet:
    """The set that `save` wrote; the pixels are mapped, not read."""
    facts = json.loads((place / _FACTS).read_text())
    arrays = {name: np.load(place / f"{name}.npy") for name in facts["arrays"]}
    pixel_file = place / facts["images"]  # an absolute path stands for itself
    data = ImageSet(
        images=np.load(pixel_file, mmap_mode="r"),
        pixel_file=pixel_file,
        class_names=tuple(facts["class_names"]),
        fingerprint=facts["fingerprint"],
        failures=tuple(Failure(*row) for row in facts["failures"]),
        **arrays,
    )
    if not facts["files"]:
        return data
    with (place / "files.npz").open("rb") as file, np.load(file) as files:
        return replace(data, files=Files(**{name: files[name] for name in Files._fields}))


def _write(place: Path, data: ImageSet) -> None:
    arrays = {name: getattr(data, name) for name in _ARRAYS if getattr(data, name) is not None}
    if data.pixel_file is None:
        _save_array(place / "images.npy", data.images)
    for name, array in arrays.items():
        _save_array(place / f"{name}.npy", array)
    if data.files is not None:
        np.savez(place / "files.npz", **data.files._asdict())
    facts = {
        "fingerprint": data.fingerprint,
        "images": str(data.pixel_file.absolute()) if data.pixel_file else "images.npy",
        "class_names": data.class_names,
        "arrays": list(arrays),
        "files": data.files is not None,
        "failures": data.failures,
    }
    write_text(place / _FACTS, json.dumps(facts))  # last: whoever finds it finds all


def _save_array(path: Path, array: np.ndarray) -> None:
    try:
        with atomic_write(path) as draft:
            np.save(draft, array)
    except OSError as error:  # numpy's own has neither a number nor a file's name
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _is_whole(place: Path, data: ImageSet) -> bool:
    try:
        found = load(place)
    except (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile):
        return False
    if found.fingerprint != data.fingerprint or found.images.shape != data.images.shape:
        return False
    # The fingerprint leaves out what files are called, and what gave no image.
    names = [None if s.files is None else s.files.names.tolist() for s in (found, data)]
    return names[0] == names[1] and found.failures == data.failures
