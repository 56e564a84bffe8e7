"""One model as two kinds of file: the same answers, and nothing of a file is run."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize

from tests.models.lively import facts_of, lively_classifier
from tlsearch.config.catalog import CATALOGUE, IMAGENET
from tlsearch.errors import RequestError, WorkError
from tlsearch.models import export as onnx_files
from tlsearch.models.export import (
    Classifier,
    Format,
    Halved,
    load_classifier,
    write_model,
)
from tlsearch.models.facts import METADATA_KEY
from tlsearch.models.predict import TorchModel, open_model, readings

pytestmark = [pytest.mark.slow, pytest.mark.ci]

FACTS = facts_of("resnet18", image_size=32, num_classes=4)
IMAGES = np.random.default_rng(0).random((5, 3, 32, 32), dtype=np.float32)
KINDS: tuple[Format, ...] = ("pt2", "onnx")


def made() -> Classifier:
    return lively_classifier("resnet18", image_size=32, num_classes=4)


@pytest.fixture(scope="module")
def trained() -> np.ndarray:
    """What the network itself answers: probabilities of normalised images."""
    classifier = made()
    found = TorchModel(classifier, FACTS).probabilities(IMAGES)
    mean, std = CATALOGUE["resnet18"].normalisation
    with torch.no_grad():
        logits = classifier.model(normalize(torch.from_numpy(IMAGES), list(mean), list(std)))
    np.testing.assert_allclose(found, logits.softmax(1), atol=1e-5)
    assert found.std(0).mean() > 0.01, "it distinguishes images"
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model as m.pt2, m.onnx, half.pt2 and half.onnx."""
    place = tmp_path_factory.mktemp("models")
    halved, half = Halved(made()).eval(), replace(FACTS, weights="float16")
    for kind in KINDS:
        write_model(made(), place / f"m.{kind}", facts=FACTS, kind=kind)
        write_model(halved, place / f"half.{kind}", facts=half, kind=kind)
    return place


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_answers_as_the_network(folder: Path, trained: np.ndarray, kind: Format) -> None:
    found = readings(folder / f"m.{kind}")
    assert len(found) == {"pt2": 2, "onnx": 1}[kind]
    for model in found:
        assert model.facts == FACTS
        for count in (1, 2, 5):
            answers = model.probabilities(IMAGES[:count])
            assert answers.dtype == np.float32
            np.testing.assert_allclose(answers, trained[:count], atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_is_half_the_size_and_close(folder: Path, trained: np.ndarray, kind: Format) -> None:
    whole, half = folder / f"m.{kind}", folder / f"half.{kind}"
    assert 0.45 < half.stat().st_size / whole.stat().st_size < 0.55
    exact = TorchModel(Halved(made()).eval(), FACTS).probabilities(IMAGES)
    for model in readings(half):
        assert model.facts.weights == "float16"
        answers = model.probabilities(IMAGES)
        np.testing.assert_allclose(answers, exact, atol=1e-5)
        assert 0 < abs(answers - trained).max() < 0.02


def test_weights_beyond_fp16() -> None:
    classifier = made()
    classifier.model.get_parameter("layer1.0.conv1.weight").data[0, 0, 0, 0] = 1e5
    with pytest.raises(WorkError, match=r"layer1\.0\.conv1\.weight holds values beyond fp16's"):
        Halved(classifier)


def test_a_pt2_is_used_without_tlsearch(folder: Path, trained: np.ndarray) -> None:
    more = {METADATA_KEY: ""}
    program = torch.export.load(folder / "m.pt2", extra_files=more)
    assert json.loads(more[METADATA_KEY]) == json.loads(json.dumps(FACTS.as_json()))
    found = program.module()(torch.from_numpy(IMAGES[:2]))
    np.testing.assert_allclose(found, trained[:2], atol=1e-5)


def test_an_onnx_is_used_without_tlsearch(folder: Path, trained: np.ndarray) -> None:
    session = onnxruntime.InferenceSession(folder / "m.onnx")
    text = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
    assert (text["format"], text["format_version"]) == ("tlsearch-model", 1)
    assert text["input"] == "float32 (N, 3, 32, 32), RGB, 0 to 1"
    assert text["output"] == "float32 (N, 4), probabilities of class_names"
    assert text["class_names"] == ["ç0", "ç1", "ç2", "ç3"]
    assert (text["image_size"], text["fit"], text["channels"]) == (32, "pad", "RGB")
    (put,), (got,) = session.get_inputs(), session.get_outputs()
    assert (put.name, put.shape[1:], put.type) == ("images", [3, 32, 32], "tensor(float)")
    assert (got.name, got.type) == ("probabilities", "tensor(float)")
    (found,) = session.run(None, {"images": IMAGES[:2]})
    np.testing.assert_allclose(found, trained[:2], atol=1e-5)
    onnx.checker.check_model(onnx.load(folder / "m.onnx"), full_check=True)


def test_the_file_holds_no_pickle(folder: Path) -> None:
    with zipfile.ZipFile(folder / "m.pt2") as archive:
        sizes = {info.filename.partition("/")[2]: info.file_size for info in archive.infolist()}
        config = archive.read(
            next(n for n in archive.namelist() if n.endswith("weights_config.json"))
        )
    assert sizes["data/sample_inputs/model.pt"] == 0
    assert b'"use_pickle": true' not in config
    assert not any("constants/" in name and name[-4:] != "json" for name in sizes)


Change = Callable[[dict[str, bytes]], None]


def rewritten(folder: Path, tmp_path: Path, change: Change) -> Path:
    """m.pt2 with other records in it."""
    path = tmp_path / "changed.pt2"
    with zipfile.ZipFile(folder / "m.pt2") as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in records.items():
            archive.writestr(name, value)
    return path


def name_of(records: dict[str, bytes], end: str) -> str:
    (name,) = (name for name in records if name.endswith(end))
    return name


def edited(records: dict[str, bytes], end: str, old: bytes, new: bytes) -> None:
    name = name_of(records, end)
    assert old in records[name]
    records[name] = records[name].replace(old, new, 1)


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (os.environ["BOMB"],)


def test_nothing_of_a_file_is_run(
    folder: Path, tmp_path: Path, trained: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pickle where torch would load one, in records that the weights do not need."""
    monkeypatch.setenv("BOMB", str(tmp_path / "went off"))
    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)

    def arm(records: dict[str, bytes]) -> None:
        records[name_of(records, "sample_inputs/model.pt")] = buffer.getvalue()

    path = rewritten(folder, tmp_path, arm).rename(tmp_path / "any name")
    np.testing.assert_array_equal(open_model(path).probabilities(IMAGES), trained)
    assert not (tmp_path / "went off").exists()
    with pytest.raises(Exception, match=r"NoneType|expected"):  # torch's own reader runs it
        torch.export.load(path)
    assert (tmp_path / "went off").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: edited(r, "weights_config.json", b'"use_pickle": false', b'"use_pickle": true'),
         "is a pickle"),
        (lambda r: edited(r, "weights_config.json", b'{"as_int": 64}', b'{"as_int": 65}'), ""),
        (lambda r: edited(r, "weights_config.json", b'{"as_int": 147}', b'{"as_int": 1}'), "row"),
        (lambda r: edited(r, "weights_config.json", b"conv1.weight", b"conv9.weight"), "resnet18"),
        (lambda r: edited(r, "weights_config.json", b"{", b"["), ""),
        (lambda r: r.pop(name_of(r, "weights/weight_0")), "weight_0"),
    ],
    ids=["pickle", "shape", "strides", "name", "json", "gone"],
)  # fmt: skip
def test_a_changed_archive(folder: Path, tmp_path: Path, change: Change, message: str) -> None:
    path = rewritten(folder, tmp_path, change)
    with pytest.raises(RequestError, match=rf"damaged or cut short \(.*{message}"):
        open_model(path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_or_flipped_file(folder: Path, tmp_path: Path, kind: Format) -> None:
    data = (folder / f"m.{kind}").read_bytes()
    path = tmp_path / f"cut.{kind}"
    if kind == "pt2":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        with pytest.raises(RequestError, match="CRC"):
            open_model(path)
    for share in (0.0, 0.3, 0.999):
        path.write_bytes(data[: int(share * len(data))])
        with pytest.raises(RequestError, match=r"damaged|no model") as caught:
            open_model(path)
        assert "\n" not in str(caught.value)


def foreign_pt2(path: Path) -> None:
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    torch.export.save(program, path)


def foreign_onnx(path: Path) -> None:
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [info], [out]
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), path)


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("a.pt2", foreign_pt2, "no model that tlsearch made"),
        ("a.onnx", foreign_onnx, "no model that tlsearch made"),
        ("a.pt2", lambda p: torch.save({"a": torch.zeros(1)}, p), "no model that tlsearch made"),
        ("a.pt2", lambda p: p.write_bytes(pickle.dumps(1)), "damaged or cut short"),
        ("a.onnx", lambda p: p.write_text("hello"), "damaged or cut short"),
        ("a.txt", lambda p: p.write_text("hello"), "no model — give a .pt2 or .onnx file"),
        ("a.pt2", lambda p: p.mkdir(), "cannot be read"),
        ("none.pt2", lambda p: p.parent, "no such file"),
    ],
)
def test_what_is_no_model(
    tmp_path: Path, name: str, make: Callable[[Path], object], message: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(RequestError, match=message):
        open_model(tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"format_version": 1', b'"format_version": 9', "newer format .* update tlsearch"),
        (b'"resnet18"', b'"resnet17"', "'resnet17', which this tlsearch does not know"),
        (b'"pad"', b'"bad"', "no model that tlsearch made"),
        (b'"image_size": 32', b'"image_size": []', "no model that tlsearch made"),
        (b"{", b"", "no model that tlsearch made"),
    ],
)
def test_facts_that_do_not_fit(
    folder: Path, tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    path = rewritten(folder, tmp_path, lambda r: edited(r, METADATA_KEY, old, new))
    with pytest.raises(RequestError, match=message):
        open_model(path)


@pytest.mark.parametrize("to_write", [True, False])
def test_onnx_that_is_not_installed(monkeypatch: pytest.MonkeyPatch, to_write: bool) -> None:
    onnx_files.require_onnx(to_write=to_write)
    monkeypatch.setattr(onnx_files.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(RequestError, match=r"onnxruntime.*pip install 'tlsearch\[onnx\]'"):
        onnx_files.require_onnx(to_write=to_write)


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_weights_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is None:
        save_file({"conv1.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WorkError, match=r"w\.safetensors: the model's weights cannot be read \("):
        load_classifier(
            path, backbone="resnet18", num_classes=4, image_size=32, normalisation=IMAGENET
        )
