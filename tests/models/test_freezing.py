"""Freezing depth k leaves exactly the first k groups as they were, after a real step."""

import pytest
import torch
from torch import Tensor

from tlsearch.models.backbones import Backbone, build_backbone, named_buffers, named_groups
from tlsearch.models.freezing import freeze, set_train_mode

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
    built = build_backbone(name=request.param, num_classes=5, image_size=32, dropout=0.1, seed=0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in built.model.named_parameters():
        # Out of the corners of initialisation: a head of zeros or a layer scale of 1e-6 would
        # leave whole groups without a gradient in the first step.
        if name.endswith("layer_scale"):
            torch.nn.init.ones_(parameter)
    torch.nn.init.normal_(built.head.weight, std=0.1, generator=generator)
    return built


def snapshot(backbone: Backbone) -> dict[str, dict[str, Tensor]]:
    parameters, buffers = named_groups(backbone), named_buffers(backbone)
    return {
        group: {k: v.detach().clone() for k, v in {**parameters[group], **buffers[group]}.items()}
        for group in backbone.groups
    }


def step(backbone: Backbone) -> None:
    """One step of SGD on eight random images, with weight decay and momentum on every parameter."""
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(8, 3, 32, 32, generator=generator)
    labels = torch.arange(8) % 5
    optimizer = torch.optim.SGD(
        backbone.model.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01
    )
    torch.manual_seed(4)
    torch.nn.functional.cross_entropy(backbone.model(images), labels).backward()
    optimizer.step()


CONSTANT = ("relative_position_index", "relative_coords_table")


def test_a_step_moves_exactly_the_open_groups(backbone: Backbone) -> None:
    state = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    deepest = len(backbone.groups) - 1
    # VGG has 130 million parameters: one depth is enough of a wait.
    for depth in [2] if backbone.name == "vgg11_bn" else sorted({0, 1, deepest // 2, deepest}):
        backbone.model.load_state_dict(state)
        freeze(backbone, backbone.groups[depth:], norms_alone=False)
        set_train_mode(backbone, backbone.groups[depth:])
        before = snapshot(backbone)
        step(backbone)
        after = snapshot(backbone)
        for index, group in enumerate(backbone.groups):
            for name in after[group]:
                same = torch.equal(before[group][name], after[group][name])
                assert same == (index < depth or name.endswith(CONSTANT)), (depth, name)


def test_without_evaluation_mode_the_statistics_would_move() -> None:
    # The reason for set_train_mode: requires_grad alone does not freeze BatchNorm.
    backbone = build_backbone(name="resnet18", num_classes=5, image_size=32, dropout=0, seed=0)
    freeze(backbone, backbone.groups[5:], norms_alone=False)
    backbone.model.train()
    before = snapshot(backbone)["layer4"]
    step(backbone)
    after = snapshot(backbone)["layer4"]
    moved = {
        name.rpartition(".")[2] for name in after if not torch.equal(before[name], after[name])
    }
    assert moved == {"running_mean", "running_var", "num_batches_tracked"}


def test_freezing_drops_gradients_and_opening_brings_them_back() -> None:
    backbone = build_backbone(name="resnet18", num_classes=5, image_size=32, dropout=0, seed=0)
    freeze(backbone, backbone.groups[0:], norms_alone=False)
    set_train_mode(backbone, backbone.groups[0:])
    step(backbone)
    freeze(backbone, backbone.groups[3:], norms_alone=False)
    set_train_mode(backbone, backbone.groups[3:])
    frozen = [p for g in backbone.groups[:3] for p in named_groups(backbone)[g].values()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)
    assert not any(m.training for stage in backbone.stages[:3] for m in stage.modules())
    assert all(m.training for stage in backbone.stages[3:] for m in stage.modules())
    assert all(p.grad is not None for p in backbone.stages[4].parameters())
    freeze(backbone, backbone.groups[1:], norms_alone=False)
    set_train_mode(backbone, backbone.groups[1:])
    assert all(p.requires_grad for p in backbone.stages[1].parameters())
    assert all(m.training for m in backbone.stages[1].modules())
    assert not backbone.stages[0].training


@pytest.mark.parametrize("opened", [(), ("layer4",), ("layer5", "head")])
def test_the_head_always_trains_and_groups_are_the_backbones(opened: tuple[str, ...]) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name="resnet18", num_classes=5, image_size=32, dropout=0, seed=0)
    with pytest.raises(AssertionError):
        freeze(backbone, opened, norms_alone=False)
    with pytest.raises(AssertionError):
        set_train_mode(backbone, opened)
