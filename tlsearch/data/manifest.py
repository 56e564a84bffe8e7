"""A table with a row per image: where it is, its label, and what else is known of it."""

import itertools
import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlsearch.data.dates import MixedTimes, parse_times
from tlsearch.data.images import Failure
from tlsearch.data.listing import (
    PART_NAMES,
    Listing,
    label_indices,
    natural_key,
    printable,
    refused,
    several_classes,
)
from tlsearch.data.table import Table, read_table
from tlsearch.errors import RequestError, nearest
from tlsearch.study.data import DataConfig
from tlsearch.study.layout import expanded
from tlsearch.study.sources import Manifest

FIELD = "data.source.manifest"
_NOTHING = frozenset({"", "nan", "<na>", "n/a", "#n/a", "null"})
_NEEDED = {"time": "time", "group": "group", "stratified_group": "group", "given": "part"}
"""Column that a strategy of splitting cannot do without."""


class _Column(NamedTuple):
    """Cells of the rows that count, with the places of these rows."""

    field: str
    name: str
    cells: list[str]
    places: list[str]

    def refused(self, row: int, reason: str, remedy: str) -> RequestError:
        """The error about one row."""
        return refused(self.field, self.name, f"{self.places[row]}: {reason}", remedy)


def list_manifest(data: DataConfig) -> Listing:
    """The table's images in its order. Rows without a label, and those that name no file, give no
    image; the same file in two rows gives two.

    Raises:
        RequestError: the table, a column or a cell cannot be used.
    """
    source = data.source
    assert isinstance(source, Manifest)
    path = expanded(source.path)
    root = path.parent if source.root is None else expanded(source.root)
    table = read_table(path, field=f"{FIELD}.path")
    if not root.is_dir():
        raise refused(f"{FIELD}.root", str(root), "is no folder", "name one that holds the images")
    everything = range(len(table.places))
    images = _required(table, "image", source.image, everything)
    labels = _labels(_required(table, "label", source.label, everything).cells)
    places = _places(images, root)
    rows = [i for i in everything if labels[i] and images.cells[i]]
    failures = [
        Failure("missing_labels", printable(images.cells[i]) or p, f"{p} has no label")
        if not labels[i]
        else Failure("unreadable", p, "names no file")
        for i, p in enumerate(table.places)
        if not labels[i] or not images.cells[i]
    ]
    if not rows:
        rule = f"none of {len(labels)} rows has both an image and a label"
        raise refused(f"{FIELD}.path", str(path), rule, "fill the columns, or name others")
    indices, class_names = label_indices(labels[i] for i in rows)
    several_classes(
        class_names, field=f"{FIELD}.label", value=source.label, remedy="name another column"
    )
    return Listing(
        paths=tuple(places[i] for i in rows),
        names=tuple(printable(images.cells[i]) for i in rows),
        labels=indices,
        class_names=class_names,
        columns=_columns(table, source, rows, data.split.strategy),
        failures=tuple(failures),
    )


def _columns(
    table: Table, source: Manifest, rows: Sequence[int], strategy: str
) -> dict[str, np.ndarray]:
    """The optional columns that are there, or that the study asks for."""
    readers = {"time": _times, "group": _groups, "part": _parts, "weight": _weights}
    kept = {"time": "times", "group": "groups", "part": "parts", "weight": "weights"}
    found: dict[str, np.ndarray] = {}
    for field, read in readers.items():
        name = getattr(source, field)
        needed = _NEEDED.get(strategy) == field
        if name is None:
            if needed:
                rule = f"a split by {strategy} needs this column"
                raise refused(f"{FIELD}.{field}", "null", rule, "name it, or split otherwise")
            continue
        named = name != Manifest.model_fields[field].default
        if name in table.columns or named or needed:
            column = _required(table, field, name, rows)
            if needed and not any(column.cells):
                rule = f"the column is empty, and the split is {strategy}"
                raise refused(column.field, name, rule, "fill it, or split otherwise")
            try:
                found[kept[field]] = read(column)
            except RequestError as error:
                # A column that happens to bear the name, and that nothing here depends on.
                if needed or named or field == "group":
                    raise
                if field == "weight":
                    raise RequestError(f"{error}; weight: null reads none") from None
    return found


def _required(table: Table, field: str, name: str, rows: Sequence[int]) -> _Column:
    where = f"{FIELD}.{field}"
    if name in table.doubled:
        raise refused(where, name, "two columns bear this name", "rename one of them")
    if name not in table.columns:
        close = nearest(name, list(table.columns))
        remedy = close or f"it has {', '.join(list(table.columns)[:12])}"
        raise refused(where, name, "the table has no such column", remedy)
    cells = table.columns[name]
    return _Column(where, name, [cells[i] for i in rows], [table.places[i] for i in rows])


def _labels(cells: list[str]) -> list[str]:
    """Names of classes, empty where there is none. Whole numbers that were stored as floats, as
    pandas does where one is missing, lose their `.0`.
    """
    known = [printable(cell) if cell.lower() not in _NOTHING else "" for cell in cells]
    if all(re.fullmatch(r"-?[0-9]+\.0", label) for label in known if label):
        return [label.removesuffix(".0") for label in known]
    return known


def _places(images: _Column, root: Path) -> list[str]:
    """Absolute paths of the cells, all below `root`."""
    base = os.path.abspath(root)
    found = []
    for i, cell in enumerate(images.cells):
        place = os.path.normpath(os.path.join(base, cell))
        if cell and os.path.commonpath([base, place]) != base:
            remedy = f"set {FIELD}.root to a folder that holds all images"
            raise images.refused(i, f"{cell!r} leads out of {base}", remedy)
        found.append(place)
    return found


def _times(column: _Column) -> np.ndarray:
    try:
        return parse_times(["" if c.lower() in _NOTHING | {"nat"} else c for c in column.cells])
    except MixedTimes as error:
        remedy = "write all as 2024-04-03 or 2024-04-03T15:30, or as numbers"
        raise column.refused(error.row, error.reason, remedy) from error


def _groups(column: _Column) -> np.ndarray:
    """Numbers of the groups by their natural order; who has none is a group of its own."""
    cells = [printable(cell) for cell in column.cells]
    names = sorted({cell for cell in cells if cell}, key=natural_key)
    index = {name: i for i, name in enumerate(names)}
    alone = itertools.count(len(names))
    return np.asarray([index[c] if c else next(alone) for c in cells], np.int64)


def _parts(column: _Column) -> np.ndarray:
    """Parts int8, -1 where the cell is empty."""
    found = []
    for i, cell in enumerate(column.cells):
        part = PART_NAMES.get(cell.lower(), None if cell else -1)
        if part is None:
            rule = f"{cell!r} is no part of a split"
            raise column.refused(i, rule, "write train, validation or test, or name another column")
        found.append(part)
    return np.asarray(found, np.int8)


def _weights(column: _Column) -> np.ndarray:
    found = []
    for i, cell in enumerate(column.cells):
        try:
            weight = float(cell)
        except ValueError:
            weight = math.nan
        if not (math.isfinite(weight) and weight > 0 and np.float32(weight) > 0):
            rule = f"{cell!r} is no weight above 0"
            raise column.refused(i, rule, "mend it, leave the row out, or name another column")
        found.append(weight)
    return np.asarray(found, np.float32)
