"""What every source of images gives: pixels as bytes, labels, and what else it knows of each."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

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
