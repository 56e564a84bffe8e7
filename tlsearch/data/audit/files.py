"""What is wrong with single files: no image, no label, no time, an odd size."""

from collections.abc import Iterator

import numpy as np

from tlsearch.data.audit.findings import Kind, Listed
from tlsearch.data.audit.looking import NO_ROWS, Found, names_of, number, shown
from tlsearch.data.images import ImageSet

MIN_SIDE_SHARE, MAX_ASPECT = 0.5, 3.0
"""A short side below this share of `data.size` is blown up more than twice; beyond this ratio of
long to short side, less than a third of the picture is in the square. Both are guesses.
"""

_FAILED: tuple[tuple[Kind, str], ...] = (
    ("unreadable", "that cannot be decoded"),
    ("missing_labels", "without a label"),
    ("not_an_image", "beside the images that are none"),
)


def failures(data: ImageSet) -> Iterator[tuple[Kind, Found | None]]:
    """Files and rows that gave no image; they are not in the set."""
    for kind, what in _FAILED:
        failed = [f for f in data.failures if f.kind == kind]
        files = tuple(Listed((shown(f.name),), shown(f.reason)) for f in failed)
        text = f"{number(len(failed), 'file')} {what}"
        yield kind, Found(kind, len(failed), NO_ROWS, text, files) if failed else None


def missing_times(data: ImageSet, rows: np.ndarray) -> Found | None:
    """Images without a time, in a set that tells times."""
    if data.times is None:
        return None
    missing = rows[np.isnan(data.times[rows])]
    if not len(missing):
        return None
    name = names_of(data)
    files = tuple(Listed((name(row),), "") for row in missing)
    text = f"{number(len(missing), 'image')} without a time, in a split by time"
    return Found("missing_times", len(missing), missing, text, files)


def extreme_sizes(data: ImageSet, rows: np.ndarray, *, size: int) -> Found | None:
    """Images whose short side is below half of `size`, or that are more than 3 times as long."""
    if data.files is None:
        return None
    short, long = np.sort(data.files.sizes[rows], axis=1).T
    odd = (short < MIN_SIDE_SHARE * size) | (long > MAX_ASPECT * short)
    extreme = rows[odd]
    if not len(extreme):
        return None
    name, sizes = names_of(data), data.files.sizes
    files = tuple(Listed((name(r),), f"{sizes[r, 0]} × {sizes[r, 1]} px") for r in extreme)
    text = (
        f"{number(len(extreme), 'image')} below {MIN_SIDE_SHARE * size:g} px or with sides of more "
        f"than {MAX_ASPECT:g} : 1"
    )
    return Found("extreme_sizes", len(extreme), extreme, text, files)
