"""`tlsearch predict`: a row for every image, the same answers as the training's own evaluation."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Invoke
from tests.cli.finished import CLASSES, Finished
from tlsearch.cli import predict as predicting

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("exported")]


@pytest.fixture
def there(finished: Finished, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands run in the finished study's folder; what they write goes elsewhere."""
    before = sorted(finished.folder.iterdir())
    monkeypatch.chdir(finished.folder)
    yield here
    assert sorted(finished.folder.iterdir()) == before


@pytest.fixture
def odd(here: Path) -> Path:
    """A folder of three images and two files that are none, with names that CSV must quote."""
    folder = here / "odd"
    folder.mkdir()
    for n, name in enumerate(('a, "b".png', "new\nline.png", "日本.PNG")):
        Image.new("RGB", (50, 30), (80 * n,) * 3).save(folder / name, format="PNG")
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("not an image")
    (folder / "notes.txt").write_text("beside them")
    return folder


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("model", ["tiny.pt2", "tiny.onnx"])
def test_the_files_get_the_evaluations_answers(finished: Finished, model: str) -> None:
    """The accuracy on the very files that chose the champion is the one that chose it."""
    files = finished.files(finished.validation)
    rows = rows_of(finished.tlsearch("predict", model, *files).stdout)
    assert [row["path"] for row in rows] == files
    truth = [path.split("/")[1] for path in files]
    told = json.loads((finished.study / "evaluations" / f"{finished.champion}.json").read_text())
    confusion = np.zeros((4, 4), int)
    for row, label in zip(rows, truth, strict=True):
        confusion[told["classes"].index(label), told["classes"].index(row["label"])] += 1
    assert confusion.tolist() == told["confusion"]
    assert np.count_nonzero(confusion.sum(0)) > 1, "a model that gives one answer proves nothing"


def test_the_test_part_gets_the_scorings_probabilities(finished: Finished) -> None:
    scores = finished.scores()
    files = finished.files(scores["rows"])
    done = finished.tlsearch("predict", "tiny.pt2", *files, "--json", "--probabilities")
    told = json.loads(done.stdout)
    names = told["model"]["class_names"]
    found = [[item["probabilities"][name] for name in names] for item in told["predictions"]]
    np.testing.assert_allclose(found, scores["probabilities"], atol=1e-5)
    assert (told["images"], told["unreadable"]) == (len(files), 0)


def test_nothing_is_lost(odd: Path, there: Path, tlsearch: Invoke) -> None:
    assert there
    done = tlsearch("predict", "tiny.pt2", str(odd), code=1)
    rows = rows_of(done.stdout)
    assert [Path(row["path"]).name for row in rows] == [
        *('a, "b".png', "empty.jpg", "new\nline.png", "text.jpg", "日本.PNG")
    ]
    errors = [row["error"] for row in rows]
    assert [bool(error) for error in errors] == [False, True, False, True, False]
    for row, error in zip(rows, errors, strict=True):
        assert (row["label"] in CLASSES) == (not error)
        assert (row["probability"] == "") == bool(error)
    assert done.stderr == (
        "tlsearch: 2 images of 5 could not be read; each has a row with its error\n"
    )


def test_columns(odd: Path, there: Path, tlsearch: Invoke) -> None:
    assert there
    name = str(odd / 'a, "b".png')
    done = tlsearch("predict", "tiny.pt2", name, "--top", "3", "--probabilities")
    (row,) = rows_of(done.stdout)
    every = [f"p:{name}" for name in sorted(CLASSES)]
    tops = ["label", "probability", "label2", "probability2", "label3", "probability3"]
    assert list(row) == ["path", *tops, *every, "error"]
    values = {name: float(row[f"p:{name}"]) for name in CLASSES}
    ranked = sorted(values, key=lambda name: -values[name])
    assert [row[tops[n]] for n in (0, 2, 4)] == ranked[:3]
    assert [float(row[tops[n]]) for n in (1, 3, 5)] == [values[name] for name in ranked[:3]]
    assert sum(values.values()) == pytest.approx(1, abs=1e-5)


def test_json(odd: Path, there: Path, tlsearch: Invoke) -> None:
    assert there
    told = json.loads(
        tlsearch("predict", "tiny.pt2", str(odd), "--json", "--top", "9", code=1).stdout
    )
    assert (told["images"], told["unreadable"]) == (5, 2)
    assert told["model"]["study"] == "tiny"
    first, second = told["predictions"][:2]
    assert first["top"][0]["label"] == first["label"]
    assert len(first["top"]) == len(CLASSES), "no more than there are"
    assert "error" not in first
    assert (second["label"], second["probability"]) == (None, None)
    assert second["error"] == "the file is empty"


def test_a_batch_size_changes_nothing_but_the_last_bits(there: Path, tlsearch: Invoke) -> None:
    assert there
    one, many = (
        rows_of(tlsearch("predict", "tiny.pt2", "photos/zero", "--batch-size", size).stdout)
        for size in ("1", "64")
    )
    assert len(one) == 30
    assert [row["path"] for row in one] == [row["path"] for row in many]
    for a, b in zip(one, many, strict=True):
        assert float(a["probability"]) == pytest.approx(float(b["probability"]), abs=1e-5)


def test_names_that_are_no_text(finished: Finished, tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/\xff.png"
    Image.new("RGB", (9, 9)).save(tmp_path / "x.png")
    os.rename(tmp_path / "x.png", name)
    path = tmp_path / "out.csv"
    finished.tlsearch("predict", "tiny.pt2", str(tmp_path), "-o", str(path))
    assert path.read_bytes().splitlines()[1].startswith(name + b",")


def test_a_file_appears_when_it_is_whole(
    odd: Path, there: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = there / "deep" / "out.csv"
    tlsearch("predict", "tiny.pt2", str(odd), "-o", str(path), code=1)
    whole = path.read_text()
    assert len(rows_of(whole)) == 5
    assert list(path.parent.iterdir()) == [path]

    def stopped(*_: object, **__: object) -> Iterator[object]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(predicting, "predict", stopped)
    assert not tlsearch("predict", "tiny.pt2", str(odd), "-o", str(path), code=130).stdout
    assert path.read_text() == whole
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.pt2", "photos"), "none.pt2: no such file"),
        (("study.yaml", "photos"), "study.yaml: no model"),
        (("models:/tiny@champion", "photos"), "write it to a file with: tlsearch export STUDY"),
        (("photos", "photos"), "photos: cannot be read"),
        (("tiny.pt2", "none.png"), "none.png: no such file or folder"),
        (("tiny.pt2", "*.gif"), "*.gif: no file matches this pattern"),
        (("tiny.pt2", "mlruns/studies"), "mlruns/studies: no image found"),
        (("tiny.pt2", "photos", "-o", "photos"), "--output = photos: is a folder"),
        (("tiny.pt2", "photos", "--batch-size", "0"), "batch-size"),
        (("tiny.pt2", "photos", "--top", "0"), "top"),
        (("tiny.pt2",), "IMAGES"),
    ],
)
def test_requests_that_are_wrong(
    there: Path, tlsearch: Invoke, arguments: tuple[str, ...], message: str
) -> None:
    assert there
    done = tlsearch("predict", *arguments, code=2)
    assert message in done.stderr
    assert not done.stdout
