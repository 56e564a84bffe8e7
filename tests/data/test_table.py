"""CSV and Parquet tables of images, and their times."""

import datetime
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.made import config, read, write_picture, write_table
from tlsearch.data.dataset import ImageSet
from tlsearch.data.table import MixedTimes, parse_times
from tlsearch.errors import RequestError

HEADER = ("path", "label", "time", "group", "split", "weight")
ROWS: list[Sequence[object]] = [
    ("im/0.png", "cat", "2024-03-04", "ann", "train", 1),
    ("im/1.png", "dog", "2024-03-05", "ben", "val", 2.5),
    ("im/2.png", "cat", "", "ann", "TEST", 0.5),
    ("im/3.png", "dog", "2024-03-06T12:00", "", "", 1),
]
WEIGHED = {"weight": "weight"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(4):
        write_picture(tmp_path / "im" / f"{i}.png", i)
    return tmp_path


def load(folder: Path, rows: Sequence[Sequence[object]], **fields: object) -> ImageSet:
    table = write_table(folder / "table.csv", rows)
    return read_with(table, **fields)


def read_with(table: Path, *, split: object = None, **fields: object) -> ImageSet:
    source = {"manifest": {"path": str(table), **fields}}
    more = {"split": {"strategy": split}} if split else {}
    return read(config(source, **more), table.parent / "cache")


def check_rows(found: ImageSet) -> None:
    assert found.class_names == ("cat", "dog")
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert found.files is not None
    assert found.files.names.tolist() == [f"im/{i}.png" for i in range(4)]
    assert found.times is not None
    assert found.groups is not None
    assert found.parts is not None
    assert found.weights is not None
    np.testing.assert_array_equal(np.diff(found.times), [86_400, math.nan, math.nan])
    assert found.groups.tolist() == [0, 1, 0, 2]
    assert found.parts.tolist() == [0, 1, 2, -1]
    assert found.weights.tolist() == [1, 2.5, 0.5, 1]
    dtypes = [found.times.dtype, found.groups.dtype, found.parts.dtype, found.weights.dtype]
    assert dtypes == [np.float64, np.int64, np.int8, np.float32]
    assert found.failures == ()


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_every_column_is_read(separator: str, folder: Path) -> None:
    table = write_table(folder / "table.csv", [HEADER, *ROWS], separator=separator)
    if separator == ";":
        table.write_text("\ufeff" + table.read_text())
    check_rows(read_with(table, **WEIGHED))


def test_parquet_says_the_same(folder: Path) -> None:
    columns = dict(zip(HEADER, map(list, zip(*ROWS, strict=True)), strict=True))
    columns["weight"] = [float(str(w)) for w in columns["weight"]]
    columns["group"] = [g or None for g in columns["group"]]
    texts = [str(t) for t in columns["time"]]
    columns["time"] = [datetime.datetime.fromisoformat(t) if t else None for t in texts]
    table = pa.table(columns)
    nanoseconds = table.column("time").cast(pa.timestamp("ns"))
    table = table.set_column(2, "time", nanoseconds)
    pq.write_table(table, folder / "table.parquet")
    check_rows(read_with(folder / "table.parquet", **WEIGHED))


def test_columns_are_distinguished_by_the_fingerprint(folder: Path) -> None:
    whole = load(folder, [HEADER, *ROWS], **WEIGHED)
    assert load(folder, [HEADER, *ROWS], **WEIGHED).fingerprint == whole.fingerprint
    fewer = load(folder, [row[:2] for row in (HEADER, *ROWS)])
    assert fewer.fingerprint != whole.fingerprint
    assert [fewer.times, fewer.groups, fewer.parts, fewer.weights] == [None] * 4
    heavier = load(folder, [HEADER, *ROWS[:-1], (*ROWS[-1][:-1], 3)], **WEIGHED)
    assert heavier.fingerprint != whole.fingerprint
    renamed = load(
        folder, [("file", "kind"), *[row[:2] for row in ROWS]], image="file", label="kind"
    )
    assert renamed.fingerprint == fewer.fingerprint


def test_relabelling_decodes_nothing_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(folder, [HEADER, *ROWS])
    monkeypatch.setattr("tlsearch.data.cache.decode_image", None)
    second = load(folder, [HEADER, *[(row[0], "bird", *row[2:]) for row in ROWS[:2]], *ROWS[2:]])
    assert second.class_names == ("bird", "cat", "dog")
    np.testing.assert_array_equal(first.images, second.images)
    assert first.fingerprint != second.fingerprint


def test_a_root_of_its_own(folder: Path) -> None:
    below = [HEADER[:2], *[(str(r[0]).removeprefix("im/"), r[1]) for r in ROWS]]
    assert len(load(folder, below, root=str(folder / "im")).labels) == 4
    absolute = [HEADER[:2], *[(folder / str(r[0]), r[1]) for r in ROWS]]
    assert len(load(folder, absolute, root=str(folder)).labels) == 4


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["007", "7", "10", "9"], ("007", "7", "9", "10")),
        (["1.0", "2.0", "1.0", "10.0"], ("1", "2", "10")),
        (["1.0", "2.5", "1.0", "2.5"], ("1.0", "2.5")),
        (["a b ", " a b", "c", "c"], ("a b", "c")),
        (["None", "none", "x", "y"], ("None", "none", "x", "y")),
    ],
)
def test_labels_are_text(labels: list[str], names: tuple[str, ...], folder: Path) -> None:
    found = load(folder, [HEADER[:2], *[(f"im/{i}.png", v) for i, v in enumerate(labels)]])
    assert found.class_names == names


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([1, 2, 1, 10], ("1", "2", "10")),
        ([1.0, 2.0, 1.0, None], ("1", "2")),
        ([1.5, 2.0, 1.5, float("nan")], ("1.5", "2")),
        ([True, False, True, False], ("False", "True")),
        ([b"x", b"y", b"x", b"y"], ("x", "y")),
    ],
)
def test_typed_labels_are_text(values: list[object], names: tuple[str, ...], folder: Path) -> None:
    paths = [f"im/{i}.png" for i in range(4)]
    pq.write_table(pa.table({"path": paths, "label": values}), folder / "t.parquet")
    assert read_with(folder / "t.parquet").class_names == names


def test_rows_without_a_label_or_a_file_and_doubled_ones(folder: Path) -> None:
    nothing = ["", "NaN", "nan", " ", "null", "<NA>"]
    more = [("", "cat"), ("im/9.png", "dog"), ("im", "dog"), ("im/0.png", "dog")]
    unlabelled = [(f"im/absent {i}.png", cell) for i, cell in enumerate(nothing)]
    found = load(folder, [HEADER[:2], *[row[:2] for row in ROWS], *more, *unlabelled])
    assert found.labels.tolist() == [0, 1, 0, 1, 1]
    assert found.files is not None
    assert found.files.digests[0] == found.files.digests[4]
    assert [f[:3] for f in found.failures] == [
        ("unreadable", "line 6", "names no file"),
        *(
            (
                "missing_labels",
                f"im/absent {i}.png",
                f"line {10 + i} has the label {cell!r}, which counts as missing"
                if cell.strip()
                else f"line {10 + i} has no label",
            )
            for i, cell in enumerate(nothing)
        ),
        ("missing_files", "im/9.png", "line 7: no such file"),
        ("unreadable", "im", "a directory"),
    ]


@pytest.mark.parametrize(
    ("cell", "way"),
    [
        (r"im\0.png", "have backslashes"),
        ("im/0.PNG", "differ from the files' names in case"),
        ("IM/0.png", "differ from the files' names in case"),
        ("/content/drive/im/0.png", "are of another place"),
        (r"C:\me\set\im\0.png", "are of another place"),
        ("~/set/im/0.png", "are of another place"),
        ("https://host/a/im/0.png", "are of another place"),
        ("im/0", "lack the suffix"),
        ("0", "lack folders"),
        ("0.png", "lack folders"),
    ],
)
def test_paths_of_another_system_are_found_where_they_can_mean_one_file(
    cell: str, way: str, folder: Path
) -> None:
    found = load(folder, [HEADER[:2], (cell, "cat"), *[row[:2] for row in ROWS[1:]]])
    assert len(found.labels) == 4
    assert f"paths in 1 row {way}" in found.notes[0]
    assert found.failures == ()


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("other/0.png", "no such file"),
        ("https://host/9.png", "an address of the web, and nothing is fetched"),
        ("1", "2 files are called so, such as im/1"),
        ("/elsewhere/x/0.png", "no such file"),
    ],
)
def test_what_is_missing_or_ambiguous_is_not_called_damaged(
    cell: str, reason: str, folder: Path
) -> None:
    write_picture(folder / "im" / "1.jpg", 9)
    found = load(folder, [HEADER[:2], *[row[:2] for row in ROWS], (cell, "cat")])
    (failure,) = found.failures
    assert failure.kind == "missing_files"
    assert reason in failure.reason


def test_what_counts_as_a_missing_label_is_said_and_can_be_set(folder: Path) -> None:
    rows = [
        ("path", "label"),
        *[(r[0], v) for r, v in zip(ROWS, ["x", "null", "N/A", "x"], strict=True)],
    ]
    with pytest.raises(RequestError, match="all images are of one class"):
        load(folder, rows)
    assert load(folder, rows, missing=[]).class_names == ("N/A", "null", "x")
    found = load(folder, rows, missing=["NULL"])
    assert found.class_names == ("N/A", "x")
    assert "labels that count as missing: 'null' (1)" in found.notes[0]
    labels = ["x", "null", "N/A", "nan"]
    paths = [r[0] for r in ROWS]
    pq.write_table(pa.table({"path": paths, "label": labels}), folder / "t.parquet")
    assert read_with(folder / "t.parquet").class_names == ("N/A", "nan", "null", "x")


def test_one_column_for_each_class_and_one_1_in_a_row(folder: Path) -> None:
    ones = [(1, 0, ""), (0, 1, 0), ("", "", ""), (0, 0, "True")]
    rows = [("path", "fit", "rust", "scab"), *[(r[0], *o) for r, o in zip(ROWS, ones, strict=True)]]
    found = load(folder, rows, label=["scab", "rust", "fit"])
    assert found.class_names == ("fit", "rust", "scab")
    assert found.labels.tolist() == [0, 1, 2]
    assert [(f.kind, f.reason) for f in found.failures] == [
        ("missing_labels", "line 4 has no label")
    ]
    rows[2] = (ROWS[1][0], 1, 1, 0)
    with pytest.raises(RequestError, match=r"1 row has .*line 3: rust, fit.*multi-label"):
        load(folder, rows, label=["scab", "rust", "fit"])
    rows[2] = (ROWS[1][0], 0, 0.5, 0)
    with pytest.raises(RequestError, match=r"label = rust: line 3: '0.5' is neither 0 nor 1"):
        load(folder, rows, label=["scab", "rust", "fit"])


@pytest.mark.parametrize("name", ["scab rust", "Rust, scab", "scab_rust", "rust & scab"])
def test_a_class_made_of_others_gets_a_remark(name: str, folder: Path) -> None:
    labels = ["scab", "rust", name, "black rot"]
    rows = [("path", "label"), *[(r[0], v) for r, v in zip(ROWS, labels, strict=True)]]
    (note,) = load(folder, rows).notes
    assert note.startswith(f"a class is made of others, such as {name!r} of ")


def changed(row: int, column: int, value: object) -> list[Sequence[object]]:
    cells = [list(r) for r in ROWS]
    cells[row][column] = value
    return [HEADER, *cells]


@pytest.mark.parametrize(
    ("rows", "fields", "expected"),
    [
        ([HEADER], {}, "manifest.path = {table}: has no rows"),
        ([("path", "labels"), ("a", "b")], {}, "label = label: the table has no such column — did"),
        ([("x", "y"), ("a", "b")], {}, "image = path: the table has no such column — it has x, y"),
        ([HEADER, *ROWS], {"time": "tme"}, "time = tme: the table has no such column — did you"),
        ([("path", "label", "label"), ("a", "b", "c")], {}, "two columns bear this name"),
        ([HEADER, (*ROWS[0], "more")], {}, "line 2 has 7 cells, the header 6"),
        (changed(1, 0, "../x.png"), {}, "image = path: line 3: '../x.png' leads out of"),
        (changed(1, 0, "/etc/passwd"), {}, "line 3: '/etc/passwd' leads out of"),
        (
            changed(2, 2, "04/03/2024"),
            {"split": "time"},
            "line 4: '04/03/2024' is no date",
        ),
        (
            changed(2, 4, "holdout"),
            {"split": "given"},
            "line 4: 'holdout' is no part of a",
        ),
        (changed(0, 5, "0"), WEIGHED, "weight = weight: line 2: '0' is no weight above 0"),
        (changed(0, 5, ""), WEIGHED, "'' is no weight above 0"),
        (changed(0, 5, "inf"), WEIGHED, "'inf' is no weight above 0"),
        (changed(0, 5, "-1"), WEIGHED, "'-1' is no weight above 0"),
        ([HEADER, *[(r[0], "cat", *r[2:]) for r in ROWS]], {}, "all images are of one class"),
        ([HEADER, *[(r[0], "", *r[2:]) for r in ROWS]], {}, "none of 4 rows has both an image"),
        ([HEADER, *ROWS], {"root": "nowhere"}, "root = nowhere: is no folder"),
        ([h[:2] for h in (HEADER, *ROWS)], {"split": "time"}, "time = time: the table has no such"),
        ([h[:2] for h in (HEADER, *ROWS)], {"split": "group"}, "group = group: the table has no"),
        ([h[:2] for h in (HEADER, *ROWS)], {"split": "given"}, "part = split: the table has no"),
        (
            [h[:2] for h in (HEADER, ("p", "a"), ("q", "b"))],
            {},
            "none of the files of 2 rows is below",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_message(
    rows: list[Sequence[object]], fields: dict[str, object], expected: str, folder: Path
) -> None:
    with pytest.raises(RequestError) as caught:
        load(folder, rows, **fields)
    message = str(caught.value)
    assert message.startswith("data.source.manifest.")
    assert expected.format(table=folder / "table.csv") in message
    assert " — " in message
    assert "\n" not in message


def test_what_is_no_table(folder: Path) -> None:
    with pytest.raises(RequestError, match="is not there"):
        read_with(folder / "absent.csv")
    with pytest.raises(RequestError, match=r"is a folder — .*folder: …"):
        read_with(folder / "im")
    (folder / "latin.csv").write_bytes("path,label\na.png,größe\n".encode("latin-1"))
    with pytest.raises(RequestError, match="line 2 is no UTF-8 text — save the table as UTF-8"):
        read_with(folder / "latin.csv")
    (folder / "empty.csv").write_bytes(b"")
    with pytest.raises(RequestError, match="has no rows"):
        read_with(folder / "empty.csv")
    pq.write_table(pa.table({"path": ["a"], "label": ["b"]}), folder / "t.parquet")
    whole = (folder / "t.parquet").read_bytes()
    third = len(whole) // 3
    for harmed in (whole[:third], whole[:third] + bytes(third) + whole[2 * third :]):
        (folder / "t.parquet").write_bytes(harmed)
        with pytest.raises(RequestError, match="is damaged"):
            read_with(folder / "t.parquet")


@pytest.mark.parametrize(("field", "cell"), [("split", "3"), ("time", "noon")])
def test_a_column_that_only_bears_the_name_is_not_read(field: str, cell: str, folder: Path) -> None:
    rows = [("path", "label", field), *((*row[:2], cell) for row in ROWS)]
    found = load(folder, rows)
    assert found.parts is None
    assert found.times is None
    named = {"split": "part"}.get(field, field)
    table = {"split": "given", "time": "time"}[field]
    with pytest.raises(RequestError, match=f"data.source.manifest.{named}"):
        load(folder, rows, split=table)


def test_a_column_called_weight_weighs_nothing_unless_the_study_says_so(folder: Path) -> None:
    animals = [
        ("path", "label", "weight"),
        *((*row[:2], kg) for row, kg in zip(ROWS, (4, 600) * 2, strict=True)),
    ]
    found = load(folder, animals)
    assert found.weights is None
    assert "the column weight is not read" in found.notes[0]
    weighed = load(folder, animals, weight="weight")
    assert weighed.weights is not None
    assert "images weigh from 4 to 600 in the training loss" in weighed.notes[0]


def test_null_reads_no_column(folder: Path) -> None:
    with pytest.raises(RequestError, match="a split by time needs this column"):
        load(folder, [HEADER, *ROWS], time=None, split="time")


DAY = 86_400.0
MARCH_4 = 19_786 * DAY  # 2024-03-04 in days since 1970: 54 years of 365 days, 13 leap days, 63 days


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["3", "2.5", "-1e3"], [3, 2.5, -1000]),
        (["2024", "1999"], [2024, 1999]),
        (["2024-03-04", "2024-03-05T12:00"], [MARCH_4, MARCH_4 + 1.5 * DAY]),
        (["2024-03-04 00:00:30.5"], [MARCH_4 + 30.5]),
        (["2024-03-04T02:00+02:00", "2024-03-04T01:00Z"], [MARCH_4, MARCH_4 + 3600]),
        (["04/03/2024", "25/03/2024"], [MARCH_4, MARCH_4 + 21 * DAY]),
        (["03/04/2024", "03/25/2024 12:00"], None),
        (["03/04/2024", "03/25/2024"], [MARCH_4, MARCH_4 + 21 * DAY]),
        (["03/03/2024", "02/02/2024"], [MARCH_4 - DAY, MARCH_4 - 31 * DAY]),
        (["4.3.2024", "5.3.2024"], [MARCH_4, MARCH_4 + DAY]),
        (["2024:03:04 06:00:00"], [MARCH_4 + DAY / 4]),
        (["4 Mar 2024", "05 Mar 2024"], [MARCH_4, MARCH_4 + DAY]),
        (["March 4, 2024"], [MARCH_4]),
        (["2024/03/04 6:00 PM"], [MARCH_4 + 0.75 * DAY]),
    ],
)
def test_times_are_numbers_that_order(texts: list[str], expected: list[float] | None) -> None:
    if expected is None:
        with pytest.raises(MixedTimes):
            parse_times(texts)
        return
    np.testing.assert_array_equal(parse_times(texts), expected)


def test_what_is_missing_is_not_a_number() -> None:
    found = parse_times(["", "2024-03-04", ""])
    assert [math.isnan(t) for t in found] == [True, False, True]
    assert np.isnan(parse_times(["", ""])).all()
    assert len(parse_times([])) == 0


@pytest.mark.parametrize(
    ("texts", "row", "reason"),
    [
        (["", "03/04/2024", "05/06/2024"], 1, "'03/04/2024' may be day before month"),
        (["2024-03-04", "03/04/2024"], 1, "'03/04/2024' is no date in a known format, unlike"),
        (["2024-03-04", "", "soon"], 2, "'soon' is no date"),
        (["13/14/2024"], 0, "'13/14/2024' is no date"),
        (["03/04/24"], 0, "'03/04/24' is no date"),
        (["17", "2024-03-04"], 1, "'2024-03-04' is no number, unlike '17'"),
        (["2024-03-04", "17"], 1, "'17' is no date"),
        (["1", "inf"], 1, "'inf' is no number"),
        (["2024-03-04T01:00Z", "2024-03-04T01:00"], 1, "has no time zone"),
        (["2024-03-04T01:00", "2024-03-04T01:00Z"], 1, "has a time zone"),
    ],
)
def test_mixed_and_ambiguous_times_are_refused(texts: list[str], row: int, reason: str) -> None:
    with pytest.raises(MixedTimes) as caught:
        parse_times(texts)
    assert caught.value.row == row
    assert reason in caught.value.reason
