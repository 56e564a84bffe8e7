"""A set of images on disk, in a folder of its own: the columns, and pixels that workers map.

Pixels that lie in a file already are not copied, but pointed to.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from filelock import FileLock

from tlsearch.data.images import Failure, Files, ImageSet
from tlsearch.errors import WorkError

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
    partial = place / f"{_FACTS}.part"
    partial.write_text(json.dumps(facts))
    partial.replace(place / _FACTS)  # last: whoever finds it finds all


def _save_array(path: Path, array: np.ndarray) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            np.save(file, array)
        partial.replace(path)
    except OSError as error:  # numpy's own has neither a number nor a file's name
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


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
