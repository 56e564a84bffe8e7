"""Every backbone through one contract, on the meta device: nothing is downloaded or computed."""

import re
from collections.abc import Callable, Sequence
from functools import cache

import pytest
import torch
from torch import nn
from torchvision import models

from tests.models.lively import named_buffers
from tlsearch.config.catalog import (
    CATALOGUE,
    group_of,
    groups,
    torchvision_names,
)
from tlsearch.errors import RequestError
from tlsearch.models.backbones import (
    Backbone,
    Head,
    build_backbone,
    named_groups,
)

ALL = sorted(torchvision_names())
SMALL = (  # the smallest of each way to cut a network
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "vgg11",
    "vgg11_bn",
    "efficientnet_b0",
    "convnext_tiny",
    "vit_b_16",
    "swin_t",
)
FAMILIES = r"(wide_)?resne|mobilenet_|vgg|efficientnet_|convnext_|vit_|swin_"


@cache
def on_meta(name: str) -> Backbone:
    with torch.device("meta"):
        return build_backbone(
            name=name, num_classes=7, image_size=CATALOGUE[name].min_size, dropout=0.25, seed=0
        )


def build(name: str = "resnet18", *, seed: int = 0, size: int = 32) -> Backbone:
    return build_backbone(name=name, num_classes=7, image_size=size, dropout=0.25, seed=seed)


def test_every_network_of_the_families_is_there() -> None:
    assert [n for n in models.list_models(module=models) if re.match(FAMILIES, n)] == [
        name
        for name in ALL
        if name != "resnet10"  # put together by us
    ]


def every_parameter_is_in_exactly_one_group(name: str) -> None:
    backbone = on_meta(name)
    owned = [n for group in named_groups(backbone).values() for n in group]
    assert sorted(owned) == sorted(n for n, _ in backbone.model.named_parameters())


def every_buffer_is_in_exactly_one_group(name: str) -> None:
    backbone = on_meta(name)
    owned = [n for group in named_buffers(backbone).values() for n in group]
    assert sorted(owned) == sorted(n for n, _ in backbone.model.named_buffers())


def no_name_is_claimed_by_two_groups(name: str) -> None:
    for parameter in on_meta(name).model.state_dict():
        claims = [g for g, p in CATALOGUE[name].layer_map if re.match(p, parameter)]
        assert len(claims) == 1, parameter


def no_pattern_and_no_branch_of_one_is_dead(name: str) -> None:
    names = list(on_meta(name).model.state_dict())
    for _, pattern in CATALOGUE[name].layer_map:
        for branch in branches(pattern):
            assert any(re.match(branch, n) for n in names), branch


def groups_follow_the_order_of_the_network(name: str) -> None:
    # torchvision registers modules in the order in which they run; no family is an exception,
    # as ViT's class token, registered first, belongs to the first group.
    backbone = on_meta(name)
    order = [group_of(backbone.facts, n) for n, _ in backbone.model.named_parameters()]
    assert tuple(dict.fromkeys(order)) == backbone.groups == groups(CATALOGUE[name])
    assert order == sorted(order, key=backbone.groups.index)


def each_stage_holds_what_its_group_owns(name: str) -> None:
    backbone = on_meta(name)
    parameters, buffers = named_groups(backbone), named_buffers(backbone)
    assert len(backbone.stages) == len(backbone.groups)
    for group, stage in zip(backbone.groups, backbone.stages, strict=True):
        owned = {id(p) for p in stage.parameters()}
        assert owned == {id(p) for p in parameters[group].values()}, group
        owned = {id(b) for b in stage.buffers()}
        assert owned == {id(b) for b in buffers[group].values()}, group


def the_head_is_last_and_fits_the_classes(name: str) -> None:
    backbone = on_meta(name)
    weight, bias = named_groups(backbone)["head"].values()
    last = list(backbone.model.parameters())[-2:]
    assert last[0] is weight is backbone.head.weight
    assert last[1] is bias is backbone.head.bias
    assert isinstance(backbone.head, Head)
    assert backbone.head.dropout == 0.25
    assert tuple(weight.shape) == (7, backbone.head.in_features)
    assert tuple(bias.shape) == (7,)


def names_and_shapes_are_torchvisions(name: str) -> None:
    size = {"image_size": CATALOGUE[name].min_size} if "vit" in name else {}
    if name == "resnet10":  # torchvision's code, put together by us
        return
    with torch.device("meta"):
        theirs = models.get_model(name, weights=None, num_classes=7, **size).state_dict()
    ours = on_meta(name).model.state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


def stages_pass_single_tensors_and_end_in_a_vector(name: str) -> None:
    size = CATALOGUE[name].min_size
    x = torch.empty(2, 3, size, size, device="meta")
    for stage in on_meta(name).stages[:-1]:
        x = stage(x)
        assert isinstance(x, torch.Tensor)
    assert tuple(x.shape) == (2, on_meta(name).head.in_features)
    assert tuple(on_meta(name).head(x).shape) == (2, 7)


def facts_agree_with_torchvision(name: str) -> None:
    facts = CATALOGUE[name]
    if name == "resnet10":  # nobody has published weights
        return
    entries = [w for w in models.get_model_weights(name) if w.name != "IMAGENET1K_FEATURES"]
    assert tuple(w.name for w in entries) == facts.weights
    native = [w for w in entries if w.transforms().crop_size == [facts.native_size]]
    assert {w.meta["_ops"] for w in native} == {facts.giga_macs}
    for entry in entries:
        preset = entry.transforms()
        assert (tuple(preset.mean), tuple(preset.std)) == CATALOGUE[name].normalisation


def facts_of_norms_and_features(name: str) -> None:
    backbone, facts = on_meta(name), CATALOGUE[name]
    norms = (m for m in backbone.model.modules() if isinstance(m, nn.BatchNorm2d))
    assert {norm.momentum for norm in norms} == {facts.norm_momentum} - {None}
    assert backbone.head.in_features == facts.num_features
    kinds = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.SiLU, nn.LayerNorm, nn.GELU)
    last = [m for stage in backbone.stages[:-1] for m in stage.modules() if isinstance(m, kinds)]
    assert facts.last_activation in {kind.__name__ for kind in type(last[-1]).__mro__}


CONTRACT = (
    every_parameter_is_in_exactly_one_group,
    every_buffer_is_in_exactly_one_group,
    no_name_is_claimed_by_two_groups,
    no_pattern_and_no_branch_of_one_is_dead,
    groups_follow_the_order_of_the_network,
    each_stage_holds_what_its_group_owns,
    the_head_is_last_and_fits_the_classes,
    names_and_shapes_are_torchvisions,
    stages_pass_single_tensors_and_end_in_a_vector,
    facts_agree_with_torchvision,
    facts_of_norms_and_features,
)


@pytest.mark.parametrize("names", [SMALL, pytest.param(ALL, marks=pytest.mark.slow)])
@pytest.mark.parametrize("check", CONTRACT)
def test_contract(check: Callable[[str], None], names: Sequence[str]) -> None:
    for name in names:
        try:
            check(name)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


def branches(pattern: str) -> list[str]:
    """The paths of a pattern, each as one of its own."""
    ending = r")(\.|$)"
    return [f"({path}{ending}" for path in pattern.removesuffix(ending)[1:].split("|")]


def test_the_least_size_of_unpadded_networks_is_the_least() -> None:
    for name in ALL:
        if CATALOGUE[name].min_size == 32 and "vit" not in name:
            with pytest.raises(RuntimeError):
                on_meta(name).model(torch.empty(2, 3, 31, 31, device="meta"))


def test_the_seed_alone_decides_the_weights_and_the_generator_is_left_alone() -> None:
    torch.manual_seed(1)
    first = build(seed=5).model.state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = build(seed=5).model.state_dict()
    assert torch.equal(before, torch.get_rng_state())
    other = build(seed=6).model.state_dict()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_dropout_is_what_the_strategy_says_and_torchvisions_is_off() -> None:
    for name in ("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "vgg11"):
        with torch.device("meta"):
            backbone = build_backbone(name=name, num_classes=7, image_size=32, dropout=0.2, seed=0)
        dropouts = [m.p for m in backbone.model.modules() if isinstance(m, nn.Dropout)]
        assert dropouts == ([0.2, 0.0] if name == "vgg11" else [0.0])
        assert backbone.head.dropout == 0.2


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("resnet8", 32, ["'resnet8'", "unknown", "did you mean"]),
        ("vgg11", 16, ["data.size = 16", "vgg11", "at least 32 px"]),
        ("vit_b_16", 40, ["data.size = 40", "multiple of 16"]),
    ],
)
def test_a_wrong_request_is_named(name: str, size: int, words: list[str]) -> None:
    with pytest.raises(RequestError) as caught:
        build(name, size=size)
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)
