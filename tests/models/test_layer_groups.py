"""Every kind of network: stages are the network, layers are counted, and what is frozen rests."""

import copy
import re
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.lively import named_buffers
from tests.models.strategies import strategy
from tests.training.small import trainer
from tlsearch.config.catalog import CATALOGUE
from tlsearch.models.backbones import Backbone, build_backbone, named_groups
from tlsearch.models.freezing import freeze, set_train_mode
from tlsearch.models.layer_groups import layer_distances
from tlsearch.training.feature_cache import run_stages
from tlsearch.training.optim import build_optimizer
from tlsearch.training.plan import make_plan

FAST = ["resnet18", "mobilenet_v3_small"]
SLOW = ["mobilenet_v2", "vgg11_bn", "efficientnet_b0", "convnext_tiny", "vit_b_16", "swin_t"]
SMALL = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture(scope="module", params=SMALL)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return build_backbone(name=request.param, num_classes=5, image_size=32, dropout=0.5, seed=0)


def images(count: int = 3) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def give_the_head_weights(backbone: Backbone) -> None:
    """Out of the corners of initialisation: a head of zeros or a layer scale of 1e-6 would leave
    outputs equal, and whole groups without a gradient in the first step.
    """
    for name, parameter in backbone.model.named_parameters():
        if name.endswith("layer_scale"):
            torch.nn.init.ones_(parameter)
    torch.nn.init.normal_(backbone.head.weight, generator=torch.Generator().manual_seed(2))


def test_stages_are_the_network_in_evaluation(backbone: Backbone) -> None:
    give_the_head_weights(backbone)
    backbone.model.eval()
    expected = backbone.model(images())
    assert expected.std() > 0
    assert torch.equal(run_stages(backbone.stages, images()), expected)
    with torch.no_grad():
        assert torch.equal(run_stages(backbone.stages, images()), backbone.model(images()))


def test_stages_are_the_network_in_training(backbone: Backbone) -> None:
    give_the_head_weights(backbone)
    set_train_mode(backbone, backbone.groups[1:])  # the first is in evaluation mode
    state = copy.deepcopy(backbone.model.state_dict())  # BatchNorm's statistics move
    outputs, gradients, statistics = [], [], []
    for run in (backbone.model, lambda x: run_stages(backbone.stages, x)):
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
        for number, stage in enumerate(backbone.stages):
            before = x.clone()
            after = stage(x)
            assert torch.equal(x, before), number
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


# What is frozen, statistics included, rests in a step.


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
    give_the_head_weights(backbone)
    state = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    deepest = len(backbone.groups) - 1
    # VGG has 130 million parameters: one depth is enough of a wait.
    for depth in [2] if backbone.name == "vgg11_bn" else sorted({0, 1, deepest // 2, deepest}):
        backbone.model.load_state_dict(state)
        freeze(backbone, backbone.groups[depth:], norms_alone=False)
        set_train_mode(backbone, backbone.groups[depth:])
        before = snapshot(backbone)
        step(backbone)
        for stage, group in zip(backbone.stages, backbone.groups, strict=True):
            is_open = group in backbone.groups[depth:]
            assert all(m.training == is_open for m in stage.modules())
            assert all(p.requires_grad == is_open for p in stage.parameters())
            assert is_open or all(p.grad is None for p in stage.parameters())
        after = snapshot(backbone)
        for index, group in enumerate(backbone.groups):
            for name in after[group]:
                same = torch.equal(before[group][name], after[group][name])
                assert same == (index < depth or name.endswith(CONSTANT)), (depth, name)


@pytest.mark.parametrize("opened", [(), ("layer4",), ("layer5", "head")])
def test_the_head_always_trains_and_groups_are_the_backbones(opened: tuple[str, ...]) -> None:
    with torch.device("meta"):
        backbone = build_backbone(name="resnet18", num_classes=5, image_size=32, dropout=0, seed=0)
    with pytest.raises(AssertionError):
        freeze(backbone, opened, norms_alone=False)


def test_running_statistics_follow_the_batches_at_the_momentum_of_the_strategy() -> None:
    def means(momentum: float | None) -> torch.Tensor:
        of = trainer(strategy(lr=1e-30, norm_momentum=momentum), num_epochs=1)
        list(of.epochs())
        (first, *_) = (m for m in of.backbone.model.modules() if hasattr(m, "running_mean"))
        found: torch.Tensor = first.running_mean
        return found

    own, usual, slow, whole = means(None), means(0.1), means(0.001), means(1.0)
    assert torch.equal(own, usual)
    assert slow.norm() < 0.1 * usual.norm()
    assert whole.norm() > usual.norm()


def test_pretrained_statistics_rest_in_open_groups_while_their_weights_train() -> None:
    def trained(**changes: Any) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        of = trainer(strategy(lr=0.1, **changes), num_epochs=2)
        before = {name: v.clone() for name, v in of.backbone.model.state_dict().items()}
        list(of.epochs())
        return before, of.backbone.model.state_dict()

    before, after = trained(norm_statistics="pretrained")
    statistics = {name for name in before if "running_" in name}
    assert statistics
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert not moved & statistics
    assert {name for name in before if name.endswith("weight")} <= moved
    before, after = trained(norm_statistics="batch")
    assert all(not torch.equal(before[name], after[name]) for name in statistics)


# Layer-wise rate decay, layer by layer, against hand counts.


def built(name: str) -> Backbone:
    with torch.device("meta"):
        size = CATALOGUE[name].native_size
        return build_backbone(name=name, num_classes=3, image_size=size, dropout=0, seed=0)


def by_block(name: str, pattern: str) -> dict[str, int]:
    """Distance of each part of the names that the pattern matches; one part is in one layer."""
    found: dict[str, int] = {}
    for parameter, distance in layer_distances(built(name)).items():
        match = re.match(pattern, parameter)
        assert match, parameter
        assert found.setdefault(match[0], distance) == distance, parameter
    return found


def test_a_vit_has_its_embedding_its_blocks_and_its_head() -> None:
    found = by_block("vit_b_32", r"encoder\.layers\.encoder_layer_\d+|encoder\.\w+|\w+")
    blocks = {f"encoder.layers.encoder_layer_{i}": 12 - i for i in range(12)}
    embedding = {"class_token": 13, "conv_proj": 13, "encoder.pos_embedding": 13}
    assert found == {**embedding, **blocks, "encoder.ln": 1, "heads": 0}


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "convnext_tiny", "swin_t"])
def test_layers_lie_within_one_group_and_in_its_order(name: str) -> None:
    backbone = built(name)
    distances, lowest = layer_distances(backbone), None
    for group in named_groups(backbone).values():
        of = {distances[n] for n in group}
        assert lowest is None or max(of) == lowest - 1
        assert of == set(range(min(of), max(of) + 1)), "no layer is left out"
        lowest = min(of)
    assert lowest == 0


def test_blocks_are_counted_one_by_one() -> None:
    # Depths of the blocks as published, downsamplings and merges as layers, stem and head.
    layers = {"mobilenet_v2": 1 + 17 + 1 + 1, "convnext_tiny": 1 + 18 + 3 + 1}
    layers |= {"swin_t": 1 + 12 + 3 + 1, "efficientnet_b0": 1 + 16 + 1 + 1}
    for name, expected in layers.items():
        assert max(layer_distances(built(name)).values()) + 1 == expected, name


def test_the_rate_of_a_layer_is_the_heads_times_the_decay_to_its_distance() -> None:
    backbone = built("resnet18")
    distances, owned = layer_distances(backbone), named_groups(backbone)
    chosen = strategy(lr=0.2, layer_decay=0.5, weight_decay=0.1, freeze_depth=1)
    plan = make_plan(chosen, groups=backbone.groups, num_train_images=50, num_epochs=2)
    rows = build_optimizer(plan, owned, distances=distances).param_groups
    rates = {id(p): row["lr"] for row in rows for p in row["params"]}
    names = {id(p): name for group in owned.values() for name, p in group.items()}
    assert {names[key] for key in rates} == set(distances) - {
        "conv1.weight",
        "bn1.weight",
        "bn1.bias",
    }
    for key, rate in rates.items():
        assert rate == pytest.approx(0.2 * 0.5 ** distances[names[key]])
    assert len(rows) == 18, "eight blocks and the head, with and without decay"


def test_a_network_that_cannot_be_traced_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    build = partial(
        build_backbone, name="resnet18", num_classes=3, image_size=32, dropout=0.0, seed=0
    )
    assert build().uncut == ""
    monkeypatch.setattr("tlsearch.models.layer_groups._traced", lambda *_: None)
    assert build().uncut == (
        "resnet18: its forward pass cannot be cut here as was expected; frozen layers are computed "
        "once where the head alone trains, else in each step"
    )
