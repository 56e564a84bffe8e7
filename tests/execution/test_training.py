import math

import pytest
import torch

from tlsearch.data.synthetic.glyph_recipe import RECIPE
from tlsearch.models.backbones import build_backbone
from tlsearch.training import pretrain as source_model
from tlsearch.training.pretrain import lr_fraction, source_precision


def test_the_rate_by_hand():
    rates = [lr_fraction(step, num_steps=10, warmup_share=0.2) for step in range(10)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[6] == pytest.approx(0.5)
    assert rates[9] == pytest.approx((1 + math.cos(math.pi * 7 / 8)) / 2)


def test_the_optimizer_is_the_one_for_the_kind_of_network():
    layers = (torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    with_norm = source_model._optimizer(torch.nn.Sequential(*layers), RECIPE)
    without = source_model._optimizer(torch.nn.Sequential(layers[0]), RECIPE)
    assert isinstance(with_norm, torch.optim.SGD)
    assert isinstance(without, torch.optim.AdamW)
    for optimizer, decay in ((with_norm, 5e-4), (without, 0.05)):
        assert [group["weight_decay"] for group in optimizer.param_groups] == [decay, 0.0]
        assert [p.ndim for p in optimizer.param_groups[0]["params"]] == [4]


@pytest.mark.parametrize(
    ("backbone", "in_hardware", "sound", "expected"),
    [
        ("resnet18", True, True, "bf16"),
        ("resnet18", True, False, "fp32"),
        ("resnet18", False, True, "fp32"),
        ("mobilenet_v3_small", True, True, "fp32"),
    ],
)
def test_bf16_needs_hardware_a_family_that_gains_and_sound_gradients(
    monkeypatch, backbone, in_hardware, sound, expected
):
    network = build_backbone(name=backbone, num_classes=2, image_size=32, dropout=0.0, seed=0)
    before = {name: value.clone() for name, value in network.model.state_dict().items()}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": in_hardware})

    def tried(model, *, image_size, device):
        model(torch.zeros(2, 3, image_size, image_size, device=device))
        return sound

    monkeypatch.setattr(source_model, "bf16_is_sound", tried)
    assert source_precision(network, image_size=32) == expected
    after = network.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
