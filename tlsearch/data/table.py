"""A table with a row per image: where it is, its label, and what else is known of it."""

import csv
import io
import math
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlsearch.config.images import DataConfig
from tlsearch.config.paths import expanded
from tlsearch.config.runtime import OnProgress
from tlsearch.config.sources import Manifest, NamePattern, source_text
from tlsearch.data.cache import Listing, read_files
from tlsearch.data.dataset import Failure, ImageSet
from tlsearch.data.folder import (
    combined_classes,
    find_files,
    group_indices,
    is_named_as_image,
    label_indices,
    pattern_groups,
    printable,
    several_classes,
)
from tlsearch.data.layout import PART_NAMES
from tlsearch.errors import RequestError, nearest, refused, shown

_DAYS = (
    *("%Y/%m/%d", "%Y.%m.%d", "%Y:%m:%d"),  # the last as cameras write it
    *("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%d-%b-%Y"),
    *("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y"),
)
_CLOCKS = (" %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_ISO = ""
_PATTERNS = (
    _ISO,
    *_DAYS,
    *(day + clock + zone for day in _DAYS for clock in _CLOCKS for zone in ("", "%z", " %z")),
)


class MixedTimes(ValueError):  # noqa: N818 — it says what they are
    """Times that cannot be put into one order; `row` is the first that shows it."""

    def __init__(self, row: int, reason: str) -> None:
        self.row, self.reason = row, reason
        super().__init__(f"row {row}: {reason}")


def parse_times(texts: Sequence[str]) -> np.ndarray:
    """Times float64 (N,), NaN where the text is empty: numbers as they are, dates as seconds since
    1970. Those without a zone are taken for UTC.

    One way of writing must fit all: so 03/04/2024 is read where another row has 25/04/2024.

    Raises:
        MixedTimes: none does, or several do that disagree.
    """
    rows = [i for i, text in enumerate(texts) if text]
    found = np.full(len(texts), math.nan)
    known = [texts[i] for i in rows]
    numbers = [_number(text) for text in known]
    if all(map(math.isfinite, numbers)):
        found[rows] = numbers
    elif math.isfinite(numbers[0]):
        i = next(i for i, number in enumerate(numbers) if not math.isfinite(number))
        raise MixedTimes(rows[i], f"{known[i]!r} is no number, unlike {known[0]!r}")
    else:
        found[rows] = _seconds(known, rows)
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _date(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern) if pattern else datetime.fromisoformat(text)
    except ValueError:
        return None


def _seconds(texts: list[str], rows: list[int]) -> list[float]:
    """Since 1970, by every pattern that reads all of `texts`; they stand in these `rows`."""
    readings, most = [], 0
    for pattern in _PATTERNS:
        dates = list(takewhile(bool, (_date(text, pattern) for text in texts)))
        most = max(most, len(dates))
        if len(dates) == len(texts):
            readings.append([day for day in dates if day])
    if not readings:
        example = f", unlike {texts[0]!r}" if most else ""
        raise MixedTimes(rows[most], f"{texts[most]!r} is no date in a known format{example}")
    zoned = [day.tzinfo is not None for day in readings[0]]
    if any(zoned) and not all(zoned):
        i = zoned.index(not zoned[0])
        has, had = ("a", "none") if zoned[i] else ("no", "one")
        raise MixedTimes(rows[i], f"{texts[i]!r} has {has} time zone and {texts[0]!r} has {had}")
    seconds = [
        [(day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() for day in dates]
        for dates in readings
    ]
    for row, text, *read in zip(rows, texts, *seconds, strict=True):
        if len(set(read)) > 1:
            raise MixedTimes(row, f"{text!r} may be day before month or month before day")
    return seconds[0]


_SEPARATORS = ",;\t|"
_PARQUET = b"PAR1"


class Table(NamedTuple):
    """A CSV or Parquet file as columns of text by name, so that one set of rules reads both; cells
    are empty where there is nothing. `places` says where each row is, as `line 7` or `row 6`.
    `doubled` are names that two columns bear; only the first is kept. `is_typed`: what is missing
    is so by its type, as in Parquet.
    """

    columns: dict[str, list[str]]
    places: list[str]
    doubled: frozenset[str]
    is_typed: bool


def read_table(path: Path, *, field: str) -> Table:
    """The table, whatever its separator; a byte order mark is no part of the first name.

    Raises:
        RequestError: the file is not there, is no table, or has no rows.
    """
    shown = str(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise refused(field, shown, "is not there", f"paths start from {Path.cwd()}") from error
    except IsADirectoryError as error:
        remedy = "give a table, or for a folder write source: {folder: …}"
        raise refused(field, shown, "is a folder", remedy) from error
    except OSError as error:
        raise refused(field, shown, error.strerror or str(error), "") from error
    is_typed = data[:4] == _PARQUET
    names, rows, places = (_parquet if is_typed else _csv)(data, field, shown)
    if not rows:
        raise refused(field, shown, "has no rows", "write one for each image")
    columns = {name: [row[names.index(name)] for row in rows] for name in names}
    return Table(columns, places, frozenset(n for n in names if names.count(n) > 1), is_typed)


_Read = tuple[list[str], list[list[str]], list[str]]


def _csv(data: bytes, field: str, shown: str) -> _Read:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        remedy = "save the table as UTF-8"
        raise refused(field, shown, f"line {line} is no UTF-8 text", remedy) from error
    header = text.lstrip("\r\n").partition("\n")[0]
    separator = max(_SEPARATORS, key=lambda s: len(next(csv.reader([header], delimiter=s), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    places: list[str] = []
    names: list[str] = []
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if not any(cells):
                continue
            if not names:
                names = cells
                continue
            if len(cells) > len(names):
                rule = f"line {reader.line_num} has {len(cells)} cells, the header {len(names)}"
                raise refused(field, shown, rule, "put text that holds separators in quotes")
            rows.append(cells + [""] * (len(names) - len(cells)))
            places.append(f"line {reader.line_num}")
    except csv.Error as error:
        rule = f"line {reader.line_num} is no CSV: {error}"
        raise refused(field, shown, rule, "write it anew as CSV") from error
    return names, rows, places


def _parquet(data: bytes, field: str, shown: str) -> _Read:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
        columns = []
        for column in table.columns:
            if pa.types.is_timestamp(column.type):  # to the microsecond: Python has none finer
                column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
            columns.append([_text(value) for value in column.to_pylist()])
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        rule = f"is damaged: {str(error).partition(chr(10))[0]}"
        raise refused(field, shown, rule, "write it anew") from error
    rows = [list(row) for row in zip(*columns, strict=True)]
    return list(table.column_names), rows, [f"row {i + 1}" for i in range(len(rows))]


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").strip()
    return str(value).strip()


FIELD = "data.source.manifest"
_NOTHING = frozenset({"", "nan", "<na>", "n/a", "#n/a", "null"})
_WEIGHTS = frozenset({"weight", "weights", "sampleweight", "sampleweights"})
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


def read_manifest(data: DataConfig, cache: Path, on_progress: OnProgress) -> ImageSet:
    """The table's images, decoded once and kept below `cache`.

    Raises:
        RequestError: the table, a column or a cell cannot be used, or fewer than two classes have
            an image that can be read.
        WorkError: the cache cannot be written.
    """
    on_progress(0.0, f"reading {source_text(data.source)}")
    return read_files(list_manifest(data), data, cache, on_progress, field=f"{FIELD}.path")


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
    written = _written(table, source.label)
    words = _NOTHING if source.missing is None else source.missing
    missing = frozenset(() if source.missing is None and table.is_typed else map(str.lower, words))
    labels = _labels(written, missing)
    found = _places(images, root)
    rows = [i for i in everything if labels[i] and images.cells[i]]
    failures = [
        Failure("missing_labels", printable(images.cells[i]) or p, _unlabelled(p, written[i]))
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
        class_names,
        field=f"{FIELD}.label",
        value=source.label if isinstance(source.label, str) else shown(source.label),
        remedy="name another column",
    )
    absent = np.array([i in found.absent for i in rows], bool)
    failures += [
        Failure(
            "missing_files", printable(images.cells[i]), f"{table.places[i]}: {found.absent[i]}"
        )
        for i in rows
        if i in found.absent
    ]
    if absent.all():
        reason = f"the first is {images.cells[rows[0]]!r}: {found.absent[rows[0]]}"
        rule = f"none of the files of {len(rows):,} rows is below {root}; {reason}"
        remedy = f"set {FIELD}.root to the folder that holds them"
        raise refused(f"{FIELD}.image", source.image, rule, remedy)
    rows, indices = [i for i in rows if i not in found.absent], indices[~absent]
    columns = _columns(table, source, rows, data.split.strategy)
    notes = [*_notes(table, source, columns), *found.notes, *combined_classes(class_names)]
    if words_found := Counter(
        w for w, label in zip(written, labels, strict=True) if w and not label
    ):
        listed = ", ".join(f"{text!r} ({count:,})" for text, count in words_found.most_common(5))
        notes.append(
            f"labels that count as missing: {listed}; {FIELD}.missing: [] makes them classes"
        )
    if isinstance(source.group, NamePattern):
        paths = [printable(images.cells[i]) for i in rows]
        columns["groups"], more = pattern_groups(source.group, paths, field=f"{FIELD}.group")
        notes += more
    return Listing(
        paths=tuple(found.paths[i] for i in rows),
        names=tuple(printable(images.cells[i]) for i in rows),
        labels=indices,
        class_names=class_names,
        columns=columns,
        failures=tuple(failures),
        notes=tuple(notes),
    )


def _notes(table: Table, source: Manifest, columns: Mapping[str, np.ndarray]) -> Iterator[str]:
    """What the loss makes of the images, and a column that only looks as if it weighed them."""
    if (weights := columns.get("weights")) is not None:
        span = f"from {weights.min():g} to {weights.max():g}"
        yield f"images weigh {span} in the training loss, by the column {source.weight}"
        return
    for name in table.columns:
        if re.sub(r"[\W_]", "", name).casefold() in _WEIGHTS:
            yield (
                f"the column {name} is not read and all images count alike; to weigh them by it "
                f"in the training loss, write {FIELD}.weight: {name}"
            )


def _columns(
    table: Table, source: Manifest, rows: Sequence[int], strategy: str
) -> dict[str, np.ndarray]:
    """The optional columns that are there, or that the study asks for."""
    readers = {"time": _times, "group": _groups, "part": _parts, "weight": _weights}
    found: dict[str, np.ndarray] = {}
    for field, read in readers.items():
        name = getattr(source, field)
        if isinstance(name, NamePattern):
            continue
        needed = _NEEDED.get(strategy) == field
        if name is None and needed:
            rule = f"a split by {strategy} needs this column"
            raise refused(f"{FIELD}.{field}", "null", rule, "name it, or split otherwise")
        if name is None:
            continue
        named = name != Manifest.model_fields[field].default
        if name not in table.columns and not named and not needed:
            continue
        column = _required(table, field, name, rows)
        if needed and not any(column.cells):
            rule = f"the column is empty, and the split is {strategy}"
            raise refused(column.field, name, rule, "fill it, or split otherwise")
        try:
            found[f"{field}s"] = read(column)
        except RequestError:
            # A column that happens to bear the name, and that nothing here depends on.
            if needed or named or field == "group":
                raise
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


_FLAGS = {"": False, "0": False, "0.0": False, "false": False}
_FLAGS |= {"1": True, "1.0": True, "true": True}


def ones_of(table: Table, names: Sequence[str]) -> list[list[str]] | None:
    """Which of these columns hold a 1, by row; None where a cell is neither 0 nor 1."""
    cells = [[_FLAGS.get(cell.lower()) for cell in table.columns[name]] for name in names]
    if any(None in column for column in cells):
        return None
    return [
        [name for name, is_one in zip(names, row, strict=True) if is_one]
        for row in zip(*cells, strict=True)
    ]


def _written(table: Table, label: str | Sequence[str]) -> list[str]:
    """The labels as they are written, or the names of the columns that hold a 1."""
    everything = range(len(table.places))
    if isinstance(label, str):
        return _required(table, "label", label, everything).cells
    for column in (_required(table, "label", name, everything) for name in label):
        for i, cell in enumerate(column.cells):
            if cell.lower() not in _FLAGS:
                rule = f"{cell!r} is neither 0 nor 1"
                raise column.refused(i, rule, "name the columns of which a row has a 1 in one")
    ones = ones_of(table, label) or []
    if several := [i for i in everything if len(ones[i]) > 1]:
        first = f"{table.places[several[0]]}: {', '.join(ones[several[0]])}"
        raise refused(f"{FIELD}.label", shown(label), *several_labels(len(several), first))
    return [found[0] if found else "" for found in ones]


def several_labels(count: int, first: str) -> tuple[str, str]:
    """Rule and remedy for rows of which the columns of classes hold several ones."""
    rows = "1 row has" if count == 1 else f"{count:,} rows have"
    return (
        f"{rows} a 1 in several columns, the first is {first}; several labels for one image "
        "(multi-label) are not supported",
        "leave these rows out, or study each label alone: label: its column, the classes are 0, 1",
    )


def _unlabelled(place: str, text: str) -> str:
    return (
        f"{place} has the label {text!r}, which counts as missing"
        if text
        else f"{place} has no label"
    )


def _labels(cells: list[str], missing: frozenset[str]) -> list[str]:
    """Names of classes, empty where there is none. Whole numbers that were stored as floats, as
    pandas does where one is missing, lose their `.0`.
    """
    known = [printable(cell) if cell.lower() not in missing else "" for cell in cells]
    if all(re.fullmatch(r"-?[0-9]+\.0", label) for label in known if label):
        return [label.removesuffix(".0") for label in known]
    return known


class _Places(NamedTuple):
    """Absolute paths of the cells, all below the root; `absent` says by row why there is no file,
    and `notes` what was read otherwise than it is written.
    """

    paths: list[str]
    absent: dict[int, str]
    notes: list[str]


def _places(images: _Column, root: Path) -> _Places:
    """Where the images are. A cell that names no file may mean one by another system's way of
    writing, or lack its suffix or folders: the only file below `root` that it can mean is taken.
    """
    base, files = os.path.abspath(root), None
    paths, absent, otherwise = [], {}, {}
    for i, cell in enumerate(images.cells):
        paths.append(os.path.normpath(os.path.join(base, cell)))
        is_there = not cell or os.path.lexists(paths[i])
        is_foreign = _FOREIGN.match(cell) is not None
        if os.path.commonpath([base, paths[i]]) != base and (is_there or not is_foreign):
            remedy = f"set {FIELD}.root to a folder that holds all images"
            raise images.refused(i, f"{cell!r} leads out of {base}", remedy)
        if is_there:
            continue
        files = _Files(root) if files is None else files
        steps, reason = files.meant(cell)
        if steps:
            paths[i] = os.path.join(base, *steps)
            otherwise[i] = (_otherwise(cell, steps), cell, "/".join(steps))
        else:
            absent[i] = reason
    meant = Counter(path for path, _ in {(paths[i], images.cells[i]) for i in otherwise})
    for i in [i for i in otherwise if meant[paths[i]] > 1]:
        absent[i] = "another row means the same file"
        del otherwise[i]
    notes = []
    for way, count in Counter(way for way, _, _ in otherwise.values()).most_common():
        first = next(found for found in otherwise.values() if found[0] == way)
        rows = "1 row" if count == 1 else f"{count:,} rows"
        notes.append(f"paths in {rows} {way}: {first[1]!r} is taken for {first[2]!r}")
    return _Places(paths, absent, notes)


_FOREIGN = re.compile(r"/|\\|~|[a-zA-Z]:|\w+://")
"""What a path starts with that is none below the root."""


def _otherwise(cell: str, steps: Sequence[str]) -> str:
    """How a cell differs from the file that it means."""
    if _FOREIGN.match(cell):
        return "are of another place or system"
    if "\\" in cell:
        return "have backslashes"
    if len(_steps_of(cell)) < len(steps):
        return "lack folders"
    if os.path.splitext(cell)[1].casefold() != os.path.splitext(steps[-1])[1].casefold():
        return "lack the suffix"
    return "differ from the files' names in case, or in how accents are written"


def _steps_of(path: str) -> list[str]:
    """Folders and name, whatever the system, the case and the form of the accents."""
    plain = re.sub(r"^(\w+://|[a-zA-Z]:|~)", "", path.replace("\\", "/"))
    folded = unicodedata.normalize("NFC", plain).casefold()
    return [step for step in folded.split("/") if step not in ("", ".")]


class _Files:
    """The image files below a folder, to be found by what is written of them."""

    def __init__(self, root: Path) -> None:
        self._by_name: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self._by_stem: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for path in find_files([os.path.abspath(root)]):
            if not is_named_as_image(path.name):
                continue
            steps = path.relative_to(os.path.abspath(root)).parts
            name = _steps_of(steps[-1])[-1]
            self._by_name[name].append(steps)
            self._by_stem[os.path.splitext(name)[0]].append(steps)

    def meant(self, cell: str) -> tuple[tuple[str, ...], str]:
        """Steps of the only file that `cell` can mean, or none and why."""
        wanted = _steps_of(cell)
        if not wanted:
            return (), "names no file"
        ends = self._by_name.get(wanted[-1]) or self._by_stem.get(wanted[-1]) or []
        fits = []
        for steps in ends:
            folders = _steps_of("/".join(steps))[:-1]
            common = min(len(folders), len(wanted) - 1)
            agrees = common == 0 or folders[-common:] == wanted[-1 - common : -1]
            if agrees and (len(folders) >= len(wanted) - 1 or _FOREIGN.match(cell)):
                fits.append((common, steps))
        most = max((common for common, _ in fits), default=0)
        best = [steps for common, steps in fits if common == most]
        if len(best) == 1:
            return best[0], ""
        if best:
            return (), f"{len(best)} files are called so, such as {'/'.join(best[0])}"
        return (
            (),
            "an address of the web, and nothing is fetched" if "://" in cell else "no such file",
        )


def _times(column: _Column) -> np.ndarray:
    try:
        return parse_times(["" if c.lower() in _NOTHING | {"nat"} else c for c in column.cells])
    except MixedTimes as error:
        remedy = "write all as 2024-04-03 or 2024-04-03T15:30, or as numbers"
        raise column.refused(error.row, error.reason, remedy) from error


def _groups(column: _Column) -> np.ndarray:
    return group_indices([printable(cell) for cell in column.cells])


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
        weight = _number(cell)
        if not (math.isfinite(weight) and weight > 0 and np.float32(weight) > 0):
            rule = f"{cell!r} is no weight above 0"
            raise column.refused(i, rule, "correct it, leave the row out, or name another column")
        found.append(weight)
    return np.asarray(found, np.float32)
