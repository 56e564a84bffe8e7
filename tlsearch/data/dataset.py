"""What every source gives: labels and further columns of each row, and for images their pixels.

A set lies on disk in a folder of its own: the columns, and pixels that workers map.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple
from zipfile import BadZipFile

import numpy as np

from tlsearch.config.paths import atomic_write, made_once, write_text
from tlsearch.data.records import one_line

TRAIN, VALIDATION, TEST = 0, 1, 2
"""Values of `Dataset.parts`; -1 where the source names none."""

_COLUMNS = ("labels", "times", "groups", "parts", "weights", "clusters", "rows", "suspects")
_ARRAYS, _FACTS = "columns.npz", "set.json"


class Files(NamedTuple):
    """What is known of the files behind images that were read from files; arrays of length N.

    `names` are paths as the source gives them (str), `sizes` int32 (N, 2) width and height before
    resizing, `digests` sha256 of the file's bytes as text (first 32 hex digits), `hashes` uint64
    a perceptual hash of the picture. `grounds` say over what a transparent picture was laid, as
    `Decoded` does; None where nobody knows.
    """

    names: np.ndarray
    sizes: np.ndarray
    digests: np.ndarray
    hashes: np.ndarray
    grounds: np.ndarray | None = None


FailureKind = Literal["unreadable", "missing_files", "missing_labels", "not_an_image"]


class Failure(NamedTuple):
    """A file or row that gave no image, and why; `class_name` is "" where it is of no class."""

    kind: FailureKind
    name: str
    reason: str
    class_name: str = ""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labels int64 (N,) that index `class_names`, and what else is known of each row, whatever the
    model's inputs are. Arrays are read-only.

    What a source does not know is None: `times` float64 (N,), seconds or any number that orders,
    NaN where missing; `groups` int64 (N,); `parts` int8 (N,); `weights` float32 (N,), of the
    training loss. `notes` are sentences on how the source was read.

    The audit adds `clusters` int64 (N,), equal for near duplicates, which stay on one side of a
    split; `rows` int64, ascending, the rows that may be used (None: all); and `suspects` bool
    (N,), rows to leave out of training.

    Two sets with one `fingerprint` hold the same in the same order.
    """

    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    times: np.ndarray | None = None
    groups: np.ndarray | None = None
    parts: np.ndarray | None = None
    weights: np.ndarray | None = None
    clusters: np.ndarray | None = None
    rows: np.ndarray | None = None
    suspects: np.ndarray | None = None
    files: Files | None = None
    failures: tuple[Failure, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def usable(self) -> np.ndarray:
        """Rows int64, ascending, that may be used."""
        return np.arange(len(self.labels)) if self.rows is None else self.rows

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def name(self, row: int) -> str:
        """The name of a row: its file's, where there is one."""
        return f"image {row}" if self.files is None else one_line(str(self.files.names[row]))

    def blocks(self, *, by_group: bool) -> np.ndarray:
        """Blocks int64 (N,) that stay on one side of a split: rows that share a cluster, or with
        `by_group` a group, directly or over others. A negative value stands for none.
        """
        num, edges = len(self.labels), [np.empty((0, 2), np.int64)]
        for column in (self.clusters, self.groups if by_group else None):
            if column is not None:
                known = np.flatnonzero(column >= 0)
                edges.append(pairs_with_first(column[known], known))
        return connected(np.concatenate(edges), num)


@dataclass(frozen=True, kw_only=True)
class ImageSet(Dataset):
    """Images uint8 (N, H, W, C), C 1 or 3, perhaps mapped from the .npy `pixel_file`; `white` is
    what stood for white in files of 16 bits.
    """

    images: np.ndarray
    pixel_file: Path | None = None
    white: int = 65535


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
    changed = replace(data, **known)
    columns = {name: known[name] for name in _COLUMNS if known.get(name) is not None}
    if not columns and "class_names" not in known:
        return changed
    digest = hashlib.sha256(data.fingerprint.encode())
    for name, column in columns.items():
        digest.update(name.encode() + np.ascontiguousarray(column).tobytes())
    if "class_names" in known:
        digest.update(repr(known["class_names"]).encode())
    return replace(changed, fingerprint=digest.hexdigest()[:16])


def connected(pairs: np.ndarray, num: int) -> np.ndarray:
    """Lowest row int64 (num,) of everything that `pairs` (P, 2) join directly or in a chain."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(num, num))
    _, parts = connected_components(graph, directed=False)
    _, first, members = np.unique(parts, return_index=True, return_inverse=True)
    lowest: np.ndarray = first[members].astype(np.int64)
    return lowest


def pairs_with_first(keys: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Pairs (R, 2) of each row with the first of `rows` that has the same of `keys`, (R,)."""
    _, first, members = np.unique(keys, return_index=True, return_inverse=True)
    return np.stack([rows[first[members]], rows], axis=1)


DAMAGE = (OSError, ValueError, EOFError, KeyError, TypeError, BadZipFile)
"""What is raised where a file of arrays or of JSON is absent, cut short or damaged."""


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an .npz by name. Raises: one of `DAMAGE`."""
    # Opened here, because numpy forgets to close what turns out to be damaged.
    with path.open("rb") as file, np.load(file) as arrays:
        return {name: arrays[name] for name in arrays.files}


def save(data: ImageSet, folder: Path) -> Path:
    """Write `data` into a folder named by its fingerprint below `folder`, unless it is there.
    Pixels that lie in a file already are not copied, but pointed to.

    Raises:
        WorkError: the disk is full or the folder may not be written.
    """
    place = folder / data.fingerprint
    with made_once(place / "lock", remedy="free some disk space, then run again"):
        if not _is_whole(place, data):
            _write(place, data)
    return place


def load(place: Path) -> ImageSet:
    """The set that `save` wrote; the pixels are mapped, not read."""
    facts = json.loads((place / _FACTS).read_text())
    known: dict[str, Any] = read_arrays(place / _ARRAYS)
    files = [known.pop(f"file_{name}", None) for name in Files._fields]
    pixel_file = place / facts.pop("images")  # an absolute path stands for itself
    return ImageSet(
        images=np.load(pixel_file, mmap_mode="r"),
        pixel_file=pixel_file,
        class_names=tuple(facts["class_names"]),
        fingerprint=facts["fingerprint"],
        failures=tuple(Failure(*row) for row in facts["failures"]),
        notes=tuple(facts["notes"]),
        white=facts["white"],
        files=None if files[0] is None else Files(*files),
        **known,
    )


def _write(place: Path, data: ImageSet) -> None:
    if data.pixel_file is None:
        with atomic_write(place / "images.npy") as draft:
            np.save(draft, data.images)
    arrays = {name: getattr(data, name) for name in _COLUMNS if getattr(data, name) is not None}
    if data.files is not None:
        columns = data.files._asdict()
        arrays |= {f"file_{name}": array for name, array in columns.items() if array is not None}
    with atomic_write(place / _ARRAYS) as draft:
        np.savez(draft, allow_pickle=False, **arrays)
    facts = {
        "fingerprint": data.fingerprint,
        "images": str(data.pixel_file.absolute()) if data.pixel_file else "images.npy",
        "class_names": data.class_names,
        "failures": data.failures,
        "white": data.white,
        "notes": data.notes,
    }
    write_text(place / _FACTS, json.dumps(facts))  # last: whoever finds it finds all


def _is_whole(place: Path, data: ImageSet) -> bool:
    try:
        found = load(place)
    except DAMAGE:
        return False
    # The fingerprint leaves out what files are called, and what gave no image.
    names = [None if s.files is None else s.files.names.tolist() for s in (found, data)]
    return (
        found.fingerprint == data.fingerprint
        and found.images.shape == data.images.shape
        and names[0] == names[1]
        and found.failures == data.failures
        and found.notes == data.notes
    )
