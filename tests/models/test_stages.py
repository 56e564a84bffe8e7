"""Stages run one after another are the network, to the last bit."""

import copy

import pytest
import torch
from torch import Tensor

from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.freezing import set_train_mode

SMALL = [
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "vgg11_bn",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
]


@pytest.fixture(scope="module", params=SMALL)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return build_backbone(name=request.param, num_classes=5, image_size=32, dropout=0.5, seed=0)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def run_stages(backbone: Backbone, x: Tensor) -> Tensor:
    for stage in backbone.stages:
        x = stage(x)
    return x


def give_the_head_weights(backbone: Backbone) -> None:
    """ViT's head starts at zero, which would make every output equal."""
    torch.nn.init.normal_(backbone.head.weight, generator=torch.Generator().manual_seed(2))


def test_stages_are_the_network_in_evaluation(backbone: Backbone) -> None:
    give_the_head_weights(backbone)
    backbone.model.eval()
    expected = backbone.model(images())
    assert expected.std() > 0
    assert torch.equal(run_stages(backbone, images()), expected)
    with torch.no_grad():
        assert torch.equal(run_stages(backbone, images()), backbone.model(images()))


def test_stages_are_the_network_in_training(backbone: Backbone) -> None:
    give_the_head_weights(backbone)
    set_train_mode(
        backbone, backbone.groups[1:]
    )  # the first in evaluation mode, the others in training mode
    state = copy.deepcopy(backbone.model.state_dict())  # BatchNorm's statistics move
    outputs, gradients, statistics = [], [], []
    for run in (backbone.model, lambda x: run_stages(backbone, x)):
        backbone.model.load_state_dict(state)
        backbone.model.zero_grad()
        torch.manual_seed(3)  # stochastic depth and dropout
        outputs.append(run(images()))
        outputs[-1].square().sum().backward()
        gradients.append([p.grad for p in backbone.model.parameters()])
        statistics.append([b.clone() for b in backbone.model.buffers()])
    assert torch.equal(*outputs)
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(*statistics, strict=True))


@pytest.mark.parametrize("training", [False, True])
def test_no_stage_changes_its_input(backbone: Backbone, training: bool) -> None:
    # Activations of a frozen prefix are kept and read again.
    backbone.model.train(training)
    x = images()
    with torch.no_grad():
        for group, stage in zip(backbone.groups, backbone.stages, strict=True):
            before = x.clone()
            after = stage(x)
            assert torch.equal(x, before), group
            x = after


def test_a_prefix_is_the_same_image_by_image(backbone: Backbone) -> None:
    # What is kept of an image may not depend on the batch that it came in, but for rounding.
    backbone.model.eval()
    x = images()
    with torch.no_grad():
        for stage in backbone.stages[:3]:
            x = stage(x)
        alone = images()[1:2]
        for stage in backbone.stages[:3]:
            alone = stage(alone)
    torch.testing.assert_close(x[1:2], alone, rtol=1e-4, atol=1e-4)


def test_a_copy_shares_within_itself_only() -> None:
    original = build_backbone(name="vit_b_32", num_classes=2, image_size=32, dropout=0, seed=0)
    twin = copy.deepcopy(original)
    shared = {id(p) for p in twin.model.parameters()}
    assert {id(p) for stage in twin.stages for p in stage.parameters()} == shared
    assert shared.isdisjoint(id(p) for p in original.model.parameters())
