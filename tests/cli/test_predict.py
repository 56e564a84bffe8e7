"""`tlsearch export` and `predict`: a file that answers as the study said, a row for each image."""

import csv
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from tests.cli.conftest import Invoke, only_line
from tests.cli.finished import CLASSES, Finished
from tlsearch.api import Model
from tlsearch.config.loader import read_study
from tlsearch.config.paths import layout_here
from tlsearch.models import export as onnx_files
from tlsearch.search import export
from tlsearch.search.storage import open_storage
from tlsearch.search.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.ci, pytest.mark.usefixtures("exported")]


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
    result = json.loads((finished.study / "evaluations" / f"{finished.champion}.json").read_text())
    confusion = np.zeros((4, 4), int)
    for row, label in zip(rows, truth, strict=True):
        confusion[result["classes"].index(label), result["classes"].index(row["label"])] += 1
    assert confusion.tolist() == result["confusion"]
    assert np.count_nonzero(confusion.sum(0)) > 1, "a model that gives one answer proves nothing"


def test_the_test_part_gets_the_scorings_probabilities(finished: Finished) -> None:
    scores = finished.scores()
    files = finished.files(scores["rows"])
    done = finished.tlsearch("predict", "tiny.pt2", *files, "--json", "--probabilities")
    result = json.loads(done.stdout)
    names = result["model"]["class_names"]
    found = [[item["probabilities"][name] for name in names] for item in result["predictions"]]
    np.testing.assert_allclose(found, scores["probabilities"], atol=1e-5)
    assert (result["images"], result["unreadable"]) == (len(files), 0)


def test_nothing_is_lost(odd: Path, there: Path, tlsearch: Invoke) -> None:
    assert there
    done = tlsearch("predict", "tiny.pt2", str(odd), code=1)
    rows = rows_of(done.stdout)
    assert [Path(row["path"]).name for row in rows] == [
        *('a, "b".png', "empty.jpg", "new\nline.png", "notes.txt", "text.jpg", "日本.PNG")
    ]
    errors = [row["error"] for row in rows]
    assert [bool(error) for error in errors] == [False, True, False, True, True, False]
    for row, error in zip(rows, errors, strict=True):
        assert (row["label"] in CLASSES) == (not error)
        assert (row["probability"] == "") == bool(error)
    assert done.stderr == (
        "tlsearch: 2 images of 6 could not be read; each has a row with its error\n"
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
    result = json.loads(
        tlsearch("predict", "tiny.pt2", str(odd), "--json", "--top", "9", code=1).stdout
    )
    assert (result["images"], result["unreadable"]) == (6, 2)
    assert result["model"]["study"] == "tiny"
    first, second = result["predictions"][:2]
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
    assert len(rows_of(whole)) == 6
    assert list(path.parent.iterdir()) == [path]

    def stopped(*_: object, **__: object) -> Iterator[object]:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(Model, "answers", stopped)
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


def check_answers(finished: Finished, found: np.ndarray) -> None:
    """The same as the study's own scoring of the test part."""
    scores = finished.scores()
    np.testing.assert_allclose(found, scores["probabilities"], atol=1e-5)
    right = (found.argmax(1) == scores["labels"]).mean()
    assert right == pytest.approx(finished.result["test"]["accuracy"]["mean"])
    assert len(set(found.argmax(1))) > 1, "a model that gives one answer would prove nothing"


def check_facts(finished: Finished, result: dict[str, Any]) -> None:
    assert result["class_names"] == sorted(CLASSES)
    assert (result["image_size"], result["fit"], result["channels"]) == (32, "crop", "RGB")
    assert (result["study"], result["trial"], result["run"]) == ("tiny", 0, "confirm-0000-seed-1")
    assert result["test"] == finished.result["test"]["accuracy"]
    assert result["test"]["low"] <= result["test"]["mean"] <= result["test"]["high"]
    assert result["backbone"] == "resnet18"


def test_pt2_without_tlsearch(finished: Finished) -> None:
    more = {"tlsearch.json": ""}
    program = torch.export.load(finished.folder / "tiny.pt2", extra_files=more)
    rows = finished.scores()["rows"]
    with torch.no_grad():
        found = program.module()(torch.from_numpy(finished.inputs(rows)))
    check_answers(finished, found.numpy())
    check_facts(finished, json.loads(more["tlsearch.json"]))


def test_onnx_without_tlsearch(finished: Finished) -> None:
    session = onnxruntime.InferenceSession(finished.folder / "tiny.onnx")
    (found,) = session.run(None, {"images": finished.inputs(finished.scores()["rows"])})
    check_answers(finished, found)
    result = json.loads(session.get_modelmeta().custom_metadata_map["tlsearch.json"])
    check_facts(finished, result)


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_half(finished: Finished, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sub" / f"half.{kind}"
    done = finished.tlsearch("export", "study.yaml", "--half", "--json", "-o", str(path))
    result = json.loads(only_line(done.stdout))
    assert (result["path"], result["format"]) == (str(path), kind)
    assert result["bytes"] == path.stat().st_size
    whole = (finished.folder / f"tiny.{kind}").stat().st_size
    assert 0.45 < path.stat().st_size / whole < 0.55
    assert result["model"]["weights"] == "float16"
    assert result["compared_on"]["num_images"] == len(finished.validation)
    assert "validation" in result["compared_on"]["images"]
    assert result["file_against_torch"]["largest"] < 1e-5
    assert 0 < result["half_against_full"]["largest"] < 0.02
    assert result["half_against_full"]["changed"] <= 1
    assert list(path.parent.iterdir()) == [path]


def test_in_words(there: Path, tlsearch: Invoke) -> None:
    done = tlsearch("export", "study.yaml", "-o", str(there / "m.pt2"), "--half")
    text = done.stdout
    assert f"{there / 'm.pt2'}  " in text
    assert "tiny, trial 0 (confirm-0000-seed-1), resnet18" in text
    assert "float32 (N, 3, 32, 32), RGB, 0 to 1; images are resized by: crop" in text
    assert "checked" in text
    assert "of 48 decisions change" in text


def test_without_the_cache_it_compares_on_random_images(
    there: Path, tlsearch: Invoke, finished: Finished
) -> None:
    cache = finished.folder / "mlruns" / "cache"
    cache.rename(cache.with_name("gone"))
    try:
        done = tlsearch("export", "study.yaml", "--json", "-o", str(there / "m.pt2"))
    finally:
        cache.with_name("gone").rename(cache)
    assert "random" in json.loads(done.stdout)["compared_on"]["images"]


def test_a_file_that_answers_otherwise_is_not_written(
    there: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an exporter's fault would make it: the check sees it, and an earlier file stays."""
    path = there / "m.pt2"
    path.write_text("earlier")
    right = export.write_model

    def wrong(module: Any, *args: Any, **kwargs: Any) -> None:
        module.mean.add_(0.5)
        right(module, *args, **kwargs)
        module.mean.sub_(0.5)

    monkeypatch.setattr(export, "write_model", wrong)
    done = tlsearch("export", "study.yaml", "-o", str(path), code=1)
    assert "was not written: in pt2 a probability differs by" in done.stderr
    assert path.read_text() == "earlier"
    assert not list(there.glob(".*"))


def test_a_network_that_cannot_be_traced(
    there: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise RuntimeError("no such operator\nand a trace")

    monkeypatch.setattr(export, "write_model", refused)
    done = tlsearch("export", "study.yaml", "-o", str(there / "m.onnx"), code=1)
    assert done.stderr == ("tlsearch: the model could not be exported as onnx: no such operator\n")
    assert not (there / "m.onnx").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("-o", "m.bin"), "a model's file ends in .pt2 or .onnx"),
        (("-o", "m.onnx", "--format", "pt2"), "ends in .onnx, but --format is pt2"),
        (("-o", "m", "--format", "onnx"), "a model's file ends in .onnx"),
    ],
)
def test_a_file_of_another_kind(
    there: Path, tlsearch: Invoke, options: tuple[str, ...], message: str
) -> None:
    assert there
    assert message in tlsearch("export", "study.yaml", *options, code=2).stderr


def test_a_place_that_cannot_be_written(there: Path, tlsearch: Invoke) -> None:
    (there / "folder.pt2").mkdir()
    done = tlsearch("export", "study.yaml", "-o", str(there / "folder.pt2"), code=2)
    assert "is a folder" in done.stderr
    (there / "file").touch()
    done = tlsearch("export", "study.yaml", "-o", str(there / "file" / "m.pt2"), code=1)
    assert done.stderr.startswith(f"tlsearch: {there / 'file'}")


def test_onnx_that_is_not_installed(
    there: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert there
    monkeypatch.setattr(onnx_files.importlib.util, "find_spec", lambda _name: None)
    done = tlsearch("export", "study.yaml", "--format", "onnx", code=2)
    assert "pip install 'tlsearch[onnx]'" in done.stderr


def test_weights_that_are_gone(there: Path, tlsearch: Invoke, finished: Finished) -> None:
    weights = finished.study / "weights" / f"{finished.champion}.safetensors"
    weights.rename(there / "weights")
    try:
        done = tlsearch("export", "study.yaml", "-o", str(there / "m.pt2"), code=2)
    finally:
        (there / "weights").rename(weights)
    assert finished.result["model"] in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "has no confirmed winner yet, so it has no model to export — carry on with: tlsearch"),
        (("--set", "confirm=null"), "the study confirms no winner (confirm: null)"),
    ],
)
def test_a_study_without_a_winner(
    here: Path, tlsearch: Invoke, options: tuple[str, ...], message: str
) -> None:
    """Neither one that was never started nor one that has not come to its confirmation."""
    done = tlsearch("export", "study.yaml", *options, code=2)
    assert "no such study has been started" in done.stderr
    config = read_study(here / "study.yaml", overrides=list(options[1:]), preset=None)
    layout_here().create()
    storage = open_storage(config, layout_here(), create=True)
    assert storage is not None
    Store(config, storage)
    before = sorted(here.rglob("*"))
    assert message in tlsearch("export", "study.yaml", *options, code=2).stderr
    assert sorted(here.rglob("*")) == before
