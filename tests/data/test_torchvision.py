import bz2
import socket
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import URLError

import numpy as np
import pytest
from torchvision import datasets

from tests.data.made import config, picture, read, write_classes, write_picture
from tlsearch.data.dataset import ImageSet
from tlsearch.errors import RequestError, WorkError


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        assert socket.getdefaulttimeout() == 15  # no wait without end
        sys.stderr.write("a bar of torchvision's")
        raise URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def load(name: str, folder: Path, *, size: int = 16, **fields: object) -> ImageSet:
    source = {"torchvision": {"name": name, **fields}}
    return read(config(source, size=size), folder / "cache")


def write_mnist(root: Path, name: str, counts: Mapping[str, int]) -> None:
    """The IDX files of MNIST and its kin: big-endian sizes, then bytes."""
    raw = root / name / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for part, count in counts.items():
        images = draw.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        head = np.array([0x803, count, 28, 28], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = np.array([0x801, count], ">i4").tobytes()
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())


@pytest.mark.parametrize("name", ["MNIST", "KMNIST"])
def test_sets_with_a_training_and_a_test_part(name: str, tmp_path: Path) -> None:
    write_mnist(tmp_path, name, {"train": 20, "t10k": 10})
    found = load(name, tmp_path, root=str(tmp_path), size=28)
    kind = getattr(datasets, name)
    assert found.class_names == tuple(kind.classes)
    expected = np.concatenate(
        [kind(str(tmp_path), train=train).data.numpy() for train in (True, False)]
    )
    np.testing.assert_array_equal(found.images[..., 0], expected)
    assert found.labels.tolist() == [*range(10), *range(10), *range(10)]
    assert found.parts is not None
    assert found.parts.tolist() == [0] * 20 + [2] * 10
    assert found.files is not None
    assert found.files.names[[0, 19, 20]].tolist() == ["train/00000", "train/00019", "test/00000"]
    assert found.files.sizes.tolist() == [[28, 28]] * 30
    assert len(set(found.files.digests.tolist())) == 30


def test_a_second_run_does_not_open_the_set_and_fewer_images_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(tmp_path / "r")
    write_mnist(tmp_path / "r", "MNIST", {"train": 100, "t10k": 50})
    found = load("MNIST", tmp_path, root=root, images=40)
    assert load("MNIST", tmp_path / "b", root=root, images=40).fingerprint == found.fingerprint
    assert len(found.labels) == 40
    assert found.parts is not None
    assert set(found.parts.tolist()) == {0, 2}
    assert len(load("MNIST", tmp_path, root=root, images=999).labels) == 150
    monkeypatch.setattr(datasets.MNIST, "_load_data", None)
    again = load("MNIST", tmp_path, root=root, images=40)
    assert (again.fingerprint, again.class_names) == (found.fingerprint, found.class_names)
    np.testing.assert_array_equal(again.parts, found.parts)


def test_a_set_of_files_is_read_as_files_are(tmp_path: Path) -> None:
    write_classes(tmp_path / "r" / "eurosat" / "2750", {"Forest": 3, "River": 2}, suffix=".jpg")
    (tmp_path / "r" / "eurosat" / "2750" / "River" / "9.jpg").write_bytes(b"")
    found = load("EuroSAT", tmp_path, root=str(tmp_path / "r"))
    assert found.class_names == ("Forest", "River")
    assert found.labels.tolist() == [0, 0, 0, 1, 1]
    assert found.parts is None
    assert found.files is not None
    assert found.files.names[0] == "eurosat/2750/Forest/0.jpg"
    assert [f[:3] for f in found.failures] == [
        ("unreadable", "eurosat/2750/River/9.jpg", "the file is empty")
    ]


def test_a_set_with_splits_of_its_own_names(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        write_classes(tmp_path / "r" / "country211" / part, {"AD": 2, "AE": 1})
    found = load("Country211", tmp_path, root=str(tmp_path / "r"))
    assert found.parts is not None
    assert found.parts.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert found.class_names == ("AD", "AE")


def test_a_set_that_trains_on_trainval(tmp_path: Path) -> None:
    pets = tmp_path / "r" / "oxford-iiit-pet"
    (pets / "annotations").mkdir(parents=True)
    for part, start in (("trainval", 0), ("test", 2)):
        lines = []
        for i, breed in enumerate(("great_cat", "small_dog")):
            write_picture(pets / "images" / f"{breed}_{start}.jpg", start + i)
            lines.append(f"{breed}_{start} {i + 1} {i + 1} 1")
        (pets / "annotations" / f"{part}.txt").write_text("\n".join(lines))
    found = load("OxfordIIITPet", tmp_path, root=str(tmp_path / "r"))
    assert found.parts is not None
    assert found.parts.tolist() == [0, 0, 2, 2]
    assert found.class_names == ("Great Cat", "Small Dog")


def test_classes_without_names_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    lines = [f"{k} " + " ".join(f"{i + 1}:{(k - 5) / 5}" for i in range(256)) for k in range(1, 11)]
    for name in ("usps.bz2", "usps.t.bz2"):
        (tmp_path / "r" / name).write_bytes(bz2.compress("\n".join(lines).encode()))
    found = load("USPS", tmp_path, root=str(tmp_path / "r"))
    assert found.class_names == tuple("0123456789")
    assert found.images.shape == (20, 16, 16, 3)


def test_fake_data_need_no_place(tmp_path: Path) -> None:
    found = load("FakeData", tmp_path, images=30)
    expected = datasets.FakeData()
    assert found.files is not None
    assert found.files.names[0].startswith("all/")
    for i in (0, 29):
        index = int(found.files.names[i].split("/")[1])
        assert found.class_names[found.labels[i]] == str(expected[index][1])
        square = expected[index][0].resize((16, 16), 3)
        np.testing.assert_array_equal(found.images[i], np.asarray(square))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("CIFAR1O", "torchvision has no such data set — did you mean 'CIFAR10'?"),
        ("xyzzy", "torchvision has no such data set — see torchvision.datasets"),
        ("wrap_dataset_for_transforms_v2", "torchvision has no such data set"),
        ("ImageFolder", "is no data set of its own — write source: {folder: …}"),
        ("LSUN", "torchvision reads it through a pickle that it does not check — unpack"),
        ("CocoDetection", "it needs annFile, which a study cannot give"),
        ("EMNIST", "it needs split, which a study cannot give"),
        ("ImageNet", "put its files there, or name their folder"),
    ],
)
def test_what_a_study_cannot_have_is_refused(name: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(RequestError) as caught:
        load(name, tmp_path)
    assert str(caught.value).startswith(f"data.source.torchvision.name = {name}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_without_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Boxes(datasets.VisionDataset):
        target: Any = "boxes"

        def __init__(self, root: str) -> None:
            super().__init__(root)

        def __len__(self) -> int:
            return 1

        def __getitem__(self, index: int) -> Any:
            return picture(index), self.target

    monkeypatch.setattr(datasets, "Kitti", Boxes)
    with pytest.raises(RequestError, match="no images with one class each"):
        load("Kitti", tmp_path)
    Boxes.target = None
    with pytest.raises(RequestError, match="its labels are not public"):
        load("Kitti", tmp_path)


@pytest.mark.parametrize("name", ["CIFAR10", "MNIST", "EuroSAT"])
def test_no_network_is_one_line(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(WorkError) as caught:
        load(name, tmp_path)
    expected = str(caught.value)
    assert str(tmp_path / "cache" / "torchvision" / name) in expected
    assert "fetching it failed" in expected
    assert "run where there is a network, or put its files there" in expected
    assert "\n" not in expected
    assert capsys.readouterr() == ("", "")
    assert socket.getdefaulttimeout() is None
    with pytest.raises(RequestError, match=r"not whole in .* — write download: true"):
        load(name, tmp_path, download=False)


def test_an_item_that_cannot_be_read_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(datasets.FakeData):
        def __init__(self) -> None:
            super().__init__(6, (3, 8, 8), 2)

        def __getitem__(self, index: int) -> Any:
            image, _ = super().__getitem__(index)
            if index == 3:
                raise OSError("cut short")
            return image, None if index == 4 else index % 2

    monkeypatch.setattr(datasets, "FakeData", Broken)
    found = load("FakeData", tmp_path)
    assert found.labels.tolist() == [0, 1, 0, 1]
    assert [f[:3] for f in found.failures] == [
        ("unreadable", "all/00003", "cut short"),
        ("unreadable", "all/00004", "has no label"),
    ]


def test_names_of_classes_are_made_unlike() -> None:
    from tlsearch.data.torchvision import _class_names

    class Cranes:
        classes = (("crane", "bird"), ("crane", "machine"), "ant")

    assert _class_names(Cranes(), 2) == ["crane", "crane (2)", "ant"]
    assert _class_names(Cranes(), 3) == ["0", "1", "2", "3"]


def test_every_set_can_be_asked_what_it_takes() -> None:
    from tlsearch.data.torchvision import _parameters

    kinds = {name: getattr(datasets, name) for name in datasets.__all__}
    taken = {name: _parameters(kind) for name, kind in kinds.items() if isinstance(kind, type)}
    assert len(taken) > 60
    assert {"root", "download", "train"} <= taken["QMNIST"]
    assert "download" not in taken["ImageNet"]
    assert "loader" in taken["ImageNet"]
    assert "root" not in taken["FakeData"]
