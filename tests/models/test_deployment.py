"""Pixels in, probabilities out."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms.v2.functional import normalize

from tlsearch.errors import WorkError
from tlsearch.models.backbones import build_backbone, normalisation
from tlsearch.models.export import Classifier, load_classifier


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small"])
def test_probabilities_of_normalised_images(name: str) -> None:
    backbone = build_backbone(name=name, num_classes=4, image_size=32, dropout=0.3, seed=0)
    classifier = Classifier(backbone).eval()
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = classifier(images)
        mean, std = normalisation(name)
        expected = backbone.model(normalize(images, list(mean), list(std))).softmax(1)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(1), torch.ones(5))
    assert found.shape == (5, 4)


def test_its_state_holds_the_normalisation_beside_the_weights() -> None:
    backbone = build_backbone(name="resnet18", num_classes=4, image_size=32, dropout=0, seed=0)
    state = Classifier(backbone).state_dict()
    assert set(state) == {"mean", "std", *(f"model.{k}" for k in backbone.model.state_dict())}
    assert state["mean"].flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_weights_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "w.safetensors"
    if content is None:
        save_file({"conv1.weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(WorkError, match=r"w\.safetensors: the model's weights cannot be read \("):
        load_classifier(path, backbone="resnet18", num_classes=4, image_size=32)
