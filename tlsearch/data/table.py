"""A CSV or Parquet file as columns of text, so that one set of rules reads both."""

import csv
import datetime
import io
import math
from pathlib import Path
from typing import Any, NamedTuple

from tlsearch.data.listing import refused

_SEPARATORS = ",;\t|"
_PARQUET = b"PAR1"


class Table(NamedTuple):
    """Columns of text by name, empty where there is nothing; `places` says where each row is, as
    `line 7` or `row 6`. `doubled` are names that two columns bear; only the first is kept.
    """

    columns: dict[str, list[str]]
    places: list[str]
    doubled: frozenset[str]


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
    names, rows, places = (
        _parquet(data, field, shown) if data[:4] == _PARQUET else _csv(data, field, shown)
    )
    if not rows:
        raise refused(field, shown, "has no rows", "write one for each image")
    columns = {name: [row[names.index(name)] for row in rows] for name in names}
    doubled = frozenset(name for name in names if names.count(name) > 1)
    return Table(columns, places, doubled)


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
        columns = [[_text(value) for value in _plain(c).to_pylist()] for c in table.columns]
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        rule = f"is damaged: {str(error).partition(chr(10))[0]}"
        raise refused(field, shown, rule, "write it anew") from error
    rows = [list(row) for row in zip(*columns, strict=True)]
    return list(table.column_names), rows, [f"row {i + 1}" for i in range(len(rows))]


def _plain(column: Any) -> Any:
    """Times to the microsecond: Python has none finer."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        return column
    return column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)


def _text(value: object) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").strip()
    return str(value).strip()
