"""Weights into a backbone: everything but the head, or one message and nothing changed."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from tlsearch.errors import WeightsError
from tlsearch.models.backbones import Backbone, build_backbone, load_pretrained

State = dict[str, Tensor]


def build(name: str = "mobilenet_v3_small", *, seed: int = 0, size: int = 32) -> Backbone:
    return build_backbone(name=name, num_classes=5, image_size=size, dropout=0, seed=seed)


@cache
def source(name: str = "mobilenet_v3_small", classes: int = 11, size: int = 32) -> State:
    built = build_backbone(name=name, num_classes=classes, image_size=size, dropout=0, seed=99)
    return dict(built.model.state_dict())


def is_head(key: str) -> bool:
    return key.startswith(("classifier.3.", "heads.", "fc."))


def test_all_but_the_head_is_filled() -> None:
    backbone = build()
    own_head = backbone.head.weight.clone()
    load_pretrained(backbone, source())
    state = backbone.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in source().items() if not is_head(k))
    assert torch.equal(backbone.head.weight, own_head)


def test_a_head_of_the_same_size_is_left_aside_too() -> None:
    backbone = build()
    own_head = backbone.head.weight.clone()
    load_pretrained(backbone, source(classes=5))
    assert torch.equal(backbone.head.weight, own_head)


def test_no_head_and_no_batch_counter_are_needed() -> None:
    state = {
        k: v
        for k, v in source().items()
        if not is_head(k) and not k.endswith("num_batches_tracked")
    }
    backbone = build()
    load_pretrained(backbone, state)
    assert all(torch.equal(backbone.model.state_dict()[k], v) for k, v in state.items())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_tensors_take_the_type_of_the_model(dtype: torch.dtype) -> None:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in source().items()}
    backbone = build()
    load_pretrained(backbone, state)
    weight = backbone.model.state_dict()["features.0.0.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["features.0.0.weight"].float())


def test_the_given_state_is_not_shared() -> None:
    backbone = build()
    load_pretrained(backbone, source())
    before = source()["features.0.0.weight"].clone()
    with torch.no_grad():
        backbone.model.features[0][0].weight.add_(1)
    assert torch.equal(source()["features.0.0.weight"], before)


WEIGHT = "features.0.0.weight"
VARIANCE = "features.0.1.running_var"
WRONG: dict[str, tuple[Callable[[State], object], list[str]]] = {
    "missing": (lambda s: s.pop(WEIGHT), ["1 missing: features.0.0.weight"]),
    "unexpected": (
        lambda s: s.update({f"x.{i}": torch.zeros(1) for i in range(5)}),
        ["5 unexpected: x.0, x.1, x.2, …"],
    ),
    "shape": (
        lambda s: s.update({WEIGHT: torch.zeros(16, 1, 3, 3)}),
        ["1 of another shape or type", "float32 16×1×3×3 instead of float32 16×3×3×3"],
    ),
    "type": (
        lambda s: s.update({WEIGHT: torch.zeros(16, 3, 3, 3, dtype=torch.int8)}),
        ["int8 16×3×3×3 instead of float32"],
    ),
    "scalar": (
        lambda s: s.update({VARIANCE: torch.tensor(1.0)}),
        ["float32 scalar instead of float32 16"],
    ),
    "nan": (
        lambda s: s.update({VARIANCE: torch.full((16,), float("nan"))}),
        [f"1 not finite: {VARIANCE}"],
    ),
    "two": (
        lambda s: (s.pop(WEIGHT), s.update({"x": torch.zeros(1)})),
        ["1 missing: features.0.0.weight; 1 unexpected: x"],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_named_and_changes_nothing(wrong: str) -> None:
    spoil, words = WRONG[wrong]
    state = dict(source())
    spoil(state)
    backbone = build()
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_pretrained(backbone, state)
    message = str(caught.value)
    assert message.startswith("weights do not fit mobilenet_v3_small: ")
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert all(torch.equal(before[k], v) for k, v in backbone.model.state_dict().items())


def test_weights_of_another_backbone_are_named_briefly() -> None:
    with pytest.raises(WeightsError) as caught:
        load_pretrained(build("resnet18"), source())
    assert "missing" in str(caught.value)
    assert "unexpected" in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_position_embeddings_of_a_vit_are_interpolated(dtype: torch.dtype) -> None:
    key = "encoder.pos_embedding"
    state = {k: v.to(dtype) for k, v in source("vit_b_32", size=96).items()}
    backbone = build("vit_b_32", size=64)
    load_pretrained(backbone, state)
    expected = interpolate_embeddings(64, 32, {key: state[key].float()})[key]
    loaded = backbone.model.state_dict()[key]
    assert loaded.shape == (1, 1 + 2 * 2, 768)
    torch.testing.assert_close(loaded, expected)
    # Aligned corners: a 2×2 grid keeps the corners of the 3×3 one.
    corners = state[key][:, [0, 1, 3, 7, 9]].float()
    torch.testing.assert_close(loaded, corners, rtol=0, atol=1e-5)
    assert state[key].shape == (1, 10, 768), "the given state is left as it was"


def test_a_vits_positions_must_form_a_square() -> None:
    state = {**source("vit_b_32", size=96), "encoder.pos_embedding": torch.zeros(1, 7, 768)}
    with pytest.raises(WeightsError, match=r"pos_embedding \(float32 1×7×768 instead of"):
        load_pretrained(build("vit_b_32", size=64), state)


def test_a_vit_of_torchvisions_first_release_is_read() -> None:
    # Its published files call the MLP's layers linear_1 and linear_2.
    state = {
        k.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v
        for k, v in source("vit_b_32", size=96).items()
    }
    assert any("linear_2" in k for k in state)
    backbone = build("vit_b_32", size=96)
    load_pretrained(backbone, state)
    loaded = backbone.model.state_dict()
    assert all(
        torch.equal(loaded[k], v) for k, v in source("vit_b_32", size=96).items() if not is_head(k)
    )
