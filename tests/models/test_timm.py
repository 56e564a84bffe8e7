"""timm's networks through the contract of torchvision's."""

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed
from torch.nn.functional import cross_entropy

from tests.models import test_layer_groups
from tlsearch.config.catalog import CATALOGUE, PREFIX, NetworkError, made_with
from tlsearch.errors import WeightsError
from tlsearch.models.backbones import Backbone, build_backbone, named_groups
from tlsearch.models.describe import describe_timm, exact_cuts
from tlsearch.models.freezing import freeze, set_train_mode
from tlsearch.models.layer_groups import layer_distances
from tlsearch.models.pretrained import load_pretrained
from tlsearch.models.weights import pretrained_state

FAST = ["timm/test_resnet", "timm/test_vit", "timm/test_efficientnet", "timm/tf_efficientnet_lite0"]
OLDER = ["timm/resnet10t", "timm/convnext_atto", "timm/regnety_002"]
SMALL = [*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in OLDER)]


def smallest_of_each_kind() -> list[str]:
    """The network with the fewest parameters of each of timm's families."""
    found: dict[str, str] = {}
    by_size = sorted(CATALOGUE.values(), key=lambda facts: facts.num_parameters)
    for facts in by_size:
        if facts.is_timm:
            found.setdefault(facts.family, facts.name)
    return list(found.values())


def small_backbone(name: str) -> tuple[Backbone, int]:
    facts = CATALOGUE[name]
    least, by = facts.min_size, facts.size_multiple
    size = max(least, min(facts.native_size, -(-64 // by) * by))
    return build_backbone(name=name, num_classes=5, image_size=size, dropout=0.3, seed=0), size


def groups_own_every_tensor_from_input_to_head(backbone: Backbone, size: int) -> None:
    owned = [n for group in named_groups(backbone).values() for n in group]
    assert sorted(owned) == sorted(n for n, _ in backbone.model.named_parameters())
    assert all(named_groups(backbone).values())
    assert backbone.groups[-1] == "head"
    entered: dict[int, None] = {}
    hooks = [
        module.register_forward_pre_hook(lambda *_, group=group: entered.setdefault(group))
        for group, module in backbone.owners.modules.values()
        if next(module.parameters(), None) is not None
    ]
    with torch.no_grad():
        backbone.model.eval()(torch.randn(2, 3, size, size))
    for hook in hooks:
        hook.remove()
    assert list(entered) == sorted(entered)


def cut_and_uncut_give_the_same_bits(backbone: Backbone, size: int) -> None:
    assert backbone.starts[1:] == CATALOGUE[backbone.name].cuts
    assert exact_cuts(backbone, image_size=size) == backbone.starts[1:]


def what_is_frozen_rests(backbone: Backbone, size: int) -> None:
    depth = len(backbone.groups) // 2
    freeze(backbone, backbone.groups[depth:], norms_alone=False)
    set_train_mode(backbone, backbone.groups[depth:])
    before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
    scores = backbone.model(torch.randn(4, 3, size, size))
    cross_entropy(scores, torch.arange(4)).backward()  # some heads are zero at the start
    trained = [p for p in backbone.model.parameters() if p.grad is not None]
    torch.optim.SGD(trained, lr=0.1, weight_decay=0.1).step()
    after, owner = backbone.model.state_dict(), backbone.owners.tensors
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert not {name for name in moved if owner.get(name, depth) < depth}
    assert {f"{backbone.facts.head}.weight"} <= moved


def layers_are_counted(backbone: Backbone, size: int) -> None:
    del size
    distances = layer_distances(backbone)
    assert set(distances) == {name for name, _ in backbone.model.named_parameters()}
    assert set(distances.values()) == set(range(max(distances.values()) + 1))


CONTRACT = (
    groups_own_every_tensor_from_input_to_head,
    cut_and_uncut_give_the_same_bits,
    what_is_frozen_rests,
    layers_are_counted,
)


def test_contract() -> None:
    for name in FAST:
        keep_the_contract(name)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_contract_of_every_family() -> None:
    names, broken = smallest_of_each_kind(), []
    assert len(names) >= 60
    for name in names:
        try:
            keep_the_contract(name)
        except Exception as error:  # all of them at once
            broken.append(f"{name}: {error!r}"[:300])
    assert not broken, "\n".join(broken)


def keep_the_contract(name: str) -> None:
    backbone, size = small_backbone(name)
    for check in CONTRACT:
        check(backbone, size)


@pytest.mark.parametrize("name", SMALL)
def test_the_facts_are_those_of_the_installed_timm(name: str) -> None:
    described, known = describe_timm(name), CATALOGUE[name]
    if version("timm") == made_with()["timm"]:
        assert described == known
    assert described.layer_map == known.layer_map


def test_a_network_that_timm_lacks_or_with_two_heads_is_refused() -> None:
    with pytest.raises(NetworkError, match=r"zzz.*: timm \S+ has no such network — list them"):
        describe_timm("timm/zzzzzzzz")
    with pytest.raises(NetworkError, match=r"has 2 classifiers \(head, head_dist\), and a study"):
        describe_timm("timm/efficientformer_l1")
    with pytest.raises(NetworkError, match=r"— did you mean 'timm/resnet18d'\?"):
        describe_timm("timm/ResNet18d")
    with pytest.raises(NetworkError, match=r"— write name: timm/resnet18d, weights: ra2_in1k"):
        describe_timm("timm/resnet18d.ra2_in1k")


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


def test_positions_of_a_vit_of_another_size_are_interpolated_and_said() -> None:
    name, given = "timm/test_vit", timm.create_model("test_vit", num_classes=9).state_dict()
    built = build_backbone(name=name, num_classes=5, image_size=64, dropout=0.0, seed=0)
    said = load_pretrained(built, given).in_words(name)
    assert "; interpolated to this size: 1 (pos_embed from float32 1×101×64); " in said
    expected = resample_abs_pos_embed(given["pos_embed"], [4, 4], num_prefix_tokens=1)
    assert torch.equal(built.model.state_dict()["pos_embed"], expected)
    # What is no grid cannot be: it is said to be random.
    odd = {**given, "pos_embed": torch.zeros(1, 12, 64)}
    said = load_pretrained(built, odd).in_words(name)
    assert "random at the start: 1 (pos_embed (float32 1×12×64 instead of" in said


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
