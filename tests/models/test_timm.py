"""timm's networks through the contract of torchvision's."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.flop_counter import FlopCounterMode

from tests.models import test_backbones, test_layer_groups
from tests.models.lively import named_buffers
from tlsearch.config.catalog import PREFIX, TIMM, group_of, groups
from tlsearch.errors import RequestError, WeightsError
from tlsearch.models.backbones import (
    Backbone,
    Head,
    build_backbone,
    named_groups,
    normalisation,
)
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import pretrained_state

timm = pytest.importorskip("timm")

SMALL = ["timm/resnet10t", "timm/convnext_atto", "timm/regnety_002", "timm/tf_efficientnet_lite0"]


def on_meta(name: str) -> Backbone:
    with torch.device("meta"):
        return build_backbone(name=name, num_classes=7, image_size=32, dropout=0.25, seed=0)


def every_tensor_has_one_group_and_no_pattern_is_dead(name: str) -> None:
    backbone, facts = on_meta(name), TIMM[name]
    parameters = [n for n, _ in backbone.model.named_parameters()]
    owned = [n for group in named_groups(backbone).values() for n in group]
    assert sorted(owned) == sorted(parameters)
    buffers = [n for group in named_buffers(backbone).values() for n in group]
    assert sorted(buffers) == sorted(n for n, _ in backbone.model.named_buffers())
    assert {group_of(facts, n) for n in parameters} == set(groups(facts))


def each_stage_holds_the_tensors_of_its_group(name: str) -> None:
    backbone = on_meta(name)
    names = {id(p): n for n, p in backbone.model.named_parameters()}
    for group, stage in zip(backbone.groups, backbone.stages, strict=True):
        owned = {names[id(p)] for p in stage.parameters()}
        assert owned == set(named_groups(backbone)[group])


def the_head_is_ours(name: str) -> None:
    head = on_meta(name).head
    assert isinstance(head, Head)
    assert (head.out_features, head.dropout) == (7, 0.25)


def its_cost_is_as_counted(name: str) -> None:
    with torch.device("meta"):
        model = timm.create_model(name.removeprefix(PREFIX)).eval()
        image = torch.empty(1, 3, 224, 224)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image)
    assert counter.get_total_flops() / 2e9 == pytest.approx(TIMM[name].giga_macs, abs=6e-4)


def its_weights_are_timm_s_and_normalised_as_ours(name: str) -> None:
    for tag in TIMM[name].weights:
        known = timm.get_pretrained_cfg(f"{name.removeprefix(PREFIX)}.{tag}")
        assert known.tag == tag
        assert known.has_weights
        assert (known.mean, known.std, known.num_classes) == (*normalisation(name), 1000)


@pytest.mark.parametrize(
    "check",
    [
        every_tensor_has_one_group_and_no_pattern_is_dead,
        each_stage_holds_the_tensors_of_its_group,
        the_head_is_ours,
        its_cost_is_as_counted,
        its_weights_are_timm_s_and_normalised_as_ours,
    ],
)
def test_contract(check: Callable[[str], None]) -> None:
    for name in TIMM:
        check(name)


@pytest.fixture(scope="module", params=SMALL)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return build_backbone(name=request.param, num_classes=5, image_size=32, dropout=0.5, seed=0)


class TestStages:
    test_evaluation = staticmethod(test_layer_groups.test_stages_are_the_network_in_evaluation)
    test_training = staticmethod(test_layer_groups.test_stages_are_the_network_in_training)
    test_input = staticmethod(test_layer_groups.test_no_stage_changes_its_input)
    test_prefix = staticmethod(test_layer_groups.test_a_prefix_is_the_same_image_by_image)


@pytest.mark.parametrize("name", SMALL)
def test_a_file_that_timm_wrote_is_loaded(name: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    theirs = timm.create_model(name.removeprefix(PREFIX), num_classes=9)
    file = tmp_path / "model.safetensors"
    save_file(theirs.state_dict(), file)
    state = pretrained_state(backbone=name, weights=str(file))
    assert state is not None
    built = build_backbone(name=name, num_classes=5, image_size=32, dropout=0.0, seed=0)
    load_pretrained(built, state)
    images = torch.randn(2, 3, 32, 32)
    theirs.reset_classifier(0)
    with torch.no_grad():
        features = images
        for stage in built.stages[:-1]:
            features = stage.eval()(features)
        assert torch.equal(features, theirs.eval()(images))


def original(name: str) -> str:
    """The name that ConvNeXt's authors gave a tensor of timm's."""
    for pattern, theirs in (
        (r"stem\.", "downsample_layers.0."),
        (r"stages\.(\d)\.downsample\.", r"downsample_layers.\1."),
        (r"stages\.(\d)\.blocks\.", r"stages.\1."),
        (r"head\.(norm|fc)\.", lambda m: {"norm": "norm.", "fc": "head."}[m[1]]),
    ):
        name = re.sub(f"^{pattern}", theirs, name)
    return name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")


@pytest.mark.parametrize("prefix", ["", "module.backbone."])
def test_a_file_with_the_original_authors_names_is_loaded(prefix: str) -> None:
    name = "timm/convnext_atto"
    theirs = build_backbone(name=name, num_classes=9, image_size=32, dropout=0.0, seed=3).model
    state = {prefix + original(key): value for key, value in theirs.state_dict().items()}
    built = build_backbone(name=name, num_classes=5, image_size=32, dropout=0.0, seed=0)
    match = load_pretrained(built, state)
    assert (len(match.tensors), match.missing, match.prefix) == (126, (), prefix)
    own = built.model.state_dict()
    assert all(torch.equal(own[k], v) for k, v in theirs.state_dict().items() if "fc." not in k[:8])


def test_published_weights_come_through_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = timm.create_model, []

    def create(name: str, *, pretrained: bool, **options: Any) -> Any:
        calls.append((name, pretrained))
        return real(name, pretrained=False, **options)  # no network here

    monkeypatch.setattr(timm, "create_model", create)
    state = pretrained_state(backbone="timm/resnet10t", weights="c3_in1k")
    assert calls == [("resnet10t.c3_in1k", True)]
    assert state is not None
    assert state["fc.weight"].shape == (1000, 512)


def test_a_fetch_that_fails_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def create(*_: Any, **__: Any) -> Any:
        raise OSError("no route to the hub\nand a long tail")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(WeightsError, match=r"could not fetch them \(no route to the hub\) — give"):
        pretrained_state(backbone="timm/resnet18d", weights="ra2_in1k")
    with pytest.raises(WeightsError, match="timm/resnet18d has ra2_in1k"):
        pretrained_state(backbone="timm/resnet18d", weights="c3_in1k")


def test_without_timm_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(RequestError, match=r"needs timm.* — pip install timm"):
        test_backbones.build("timm/resnet18d")
