"""What the looks at an image set share: names of images, and what one look found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tlsearch.data.audit.findings import Kind, Listed
from tlsearch.data.images import ImageSet


@dataclass(frozen=True)
class Found:
    """All of one kind: how many, the rows that `drop` would leave out, a sentence, the listing."""

    kind: Kind
    count: int
    droppable: np.ndarray
    text: str
    files: tuple[Listed, ...]


NO_ROWS = np.empty(0, np.int64)


def names_of(data: ImageSet) -> Callable[[int], str]:
    """The name of the image in a row: its file's, where there is one."""
    if data.files is None:
        return lambda row: f"image {row}"
    names = data.files.names
    return lambda row: shown(names[row])


def shown(name: str) -> str:
    """A file's name, bytes that are no text and line breaks written out."""
    text = str(name).encode("utf-8", "backslashreplace").decode()
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def class_of(data: ImageSet) -> Callable[[int], str]:
    """The name of the class of the image in a row."""
    return lambda row: data.class_names[data.labels[row]]


def groups_of(keys: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """`rows` by equal `keys` (len(rows),), those that stand alone left out; in order of keys."""
    order = np.argsort(keys, kind="stable")
    _, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    spans = zip(starts[counts > 1], counts[counts > 1], strict=True)
    return [np.sort(rows[order[start : start + count]]) for start, count in spans]


def number(count: int, thing: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def concatenated(parts: Sequence[np.ndarray]) -> np.ndarray:
    """All rows of `parts`, int64, ascending, each once."""
    return np.unique(np.concatenate(parts)) if parts else NO_ROWS
