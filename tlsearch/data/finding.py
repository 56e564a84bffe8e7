"""Image files among all others: named one by one, by folder, or by pattern."""

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tlsearch.data.folder import SUFFIXES
from tlsearch.errors import RequestError
from tlsearch.study.layout import expanded


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
