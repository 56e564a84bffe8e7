"""`tlsearch export`: one file that answers as the study said, or a reason why there is none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from tests.cli.conftest import Invoke, only_line
from tests.cli.finished import CLASSES, Finished
from tlsearch.config.loader import read_study
from tlsearch.config.paths import layout_here
from tlsearch.models import export as onnx_files
from tlsearch.search import export
from tlsearch.search.ledger import Ledger
from tlsearch.search.storage import open_storage

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("exported")]


@pytest.fixture
def there(finished: Finished, here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Commands run in the finished study's folder; what they write goes elsewhere."""
    before = sorted(finished.folder.iterdir())
    monkeypatch.chdir(finished.folder)
    yield here
    assert sorted(finished.folder.iterdir()) == before


def check_answers(finished: Finished, found: np.ndarray) -> None:
    """The same as the study's own scoring of the test part."""
    scores = finished.scores()
    np.testing.assert_allclose(found, scores["probabilities"], atol=1e-5)
    right = (found.argmax(1) == scores["labels"]).mean()
    assert right == pytest.approx(finished.told["test"]["accuracy"]["mean"])
    assert len(set(found.argmax(1))) > 1, "a model that gives one answer would prove nothing"


def check_facts(finished: Finished, told: dict[str, Any]) -> None:
    assert told["class_names"] == sorted(CLASSES)
    assert (told["image_size"], told["fit"], told["channels"]) == (32, "crop", "RGB")
    assert (told["study"], told["trial"], told["run"]) == ("tiny", 0, "confirm-0000-seed-1")
    assert told["test"] == finished.told["test"]["accuracy"]
    assert told["test"]["low"] <= told["test"]["mean"] <= told["test"]["high"]
    assert told["backbone"] == "resnet18"


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
    told = json.loads(session.get_modelmeta().custom_metadata_map["tlsearch.json"])
    check_facts(finished, told)


@pytest.mark.parametrize("kind", ["pt2", "onnx"])
def test_half(finished: Finished, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "sub" / f"half.{kind}"
    done = finished.tlsearch("export", "study.yaml", "--half", "--json", "-o", str(path))
    told = json.loads(only_line(done.stdout))
    assert (told["path"], told["format"]) == (str(path), kind)
    assert told["bytes"] == path.stat().st_size
    whole = (finished.folder / f"tiny.{kind}").stat().st_size
    assert 0.45 < path.stat().st_size / whole < 0.55
    assert told["model"]["weights"] == "float16"
    assert told["compared_on"]["num_images"] == len(finished.validation)
    assert "validation" in told["compared_on"]["images"]
    assert told["file_against_torch"]["largest"] < 1e-5
    assert 0 < told["half_against_full"]["largest"] < 0.02
    assert told["half_against_full"]["changed"] <= 1
    assert list(path.parent.iterdir()) == [path]


def test_in_words(there: Path, tlsearch: Invoke) -> None:
    done = tlsearch("export", "study.yaml", "-o", str(there / "m.pt2"), "--half")
    text = done.stdout
    assert f"{there / 'm.pt2'}  " in text
    assert "tiny, trial 0 (confirm-0000-seed-1), resnet18" in text
    assert "float32 (N, 3, 32, 32), RGB, 0 to 1; images are fitted by: crop" in text
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
    assert finished.told["model"] in done.stderr


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
    Ledger(config, storage)
    before = sorted(here.rglob("*"))
    assert message in tlsearch("export", "study.yaml", *options, code=2).stderr
    assert sorted(here.rglob("*")) == before
