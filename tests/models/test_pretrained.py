"""Weights into a network: everything but the head, or one message and nothing changed."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor
from torchvision.models.vision_transformer import interpolate_embeddings

from tlsearch.config.schema import StudyConfig
from tlsearch.errors import WeightsError
from tlsearch.models.backbones import Backbone, build_backbone
from tlsearch.models.pretrained import load_pretrained, match_state, study_backbone

State = dict[str, Tensor]


def loadable(name: str = "mobilenet_v3_small", *, size: int = 32) -> Backbone:
    return build_backbone(name=name, num_classes=5, image_size=size, dropout=0, seed=0)


@cache
def source(name: str = "mobilenet_v3_small", classes: int = 11, size: int = 32) -> State:
    built = build_backbone(name=name, num_classes=classes, image_size=size, dropout=0, seed=99)
    return dict(built.model.state_dict())


def halves() -> State:
    """Of the body alone, and without counters of batches."""
    return {
        k: v.half()
        for k, v in source().items()
        if not is_head(k) and not k.endswith("num_batches_tracked")
    }


def is_head(key: str) -> bool:
    return key.startswith(("classifier.3.", "heads.", "fc."))


@pytest.mark.parametrize("classes", [11, 5])
def test_all_but_the_head_is_filled_in_the_types_of_the_model(classes: int) -> None:
    """From another head or none, other types, and files without counters of batches."""
    backbone, given = loadable(), source(classes=classes)
    own_head = backbone.head.weight.clone()
    load_pretrained(backbone, given)
    state = backbone.model.state_dict()
    assert all(torch.equal(state[k], v) for k, v in given.items() if not is_head(k))
    assert torch.equal(backbone.head.weight, own_head)
    load_pretrained(backbone, halves())
    assert state[WEIGHT].dtype == torch.float32
    assert all(torch.equal(state[k], v.to(state[k])) for k, v in halves().items())


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "timm/efficientnet_lite0"])
def test_a_new_head_is_drawn_alike_on_every_network(name: str) -> None:
    """Some libraries draw heads of a few classes ten times as large, others of zeros."""
    backbone = {"name": name, "weights": "none"}
    config = StudyConfig.model_validate(
        {"name": "x", "data": {"source": "digits", "size": 32}, "backbone": backbone}
    )

    def head(seed: int) -> Tensor:
        before = torch.get_rng_state()
        found = study_backbone(config, num_classes=3, dropout=0.0, seed=seed, state=None).head
        assert torch.equal(torch.get_rng_state(), before)
        return found.weight.detach() * found.in_features**0.5

    drawn = head(1)
    assert 0.95 < drawn.abs().max() <= 1  # as nn.Linear draws: evenly, to 1/√features
    assert drawn.std() == pytest.approx(3**-0.5, rel=0.05)
    assert torch.equal(drawn, head(1))
    assert not torch.equal(drawn, head(2))


WEIGHT = "features.0.0.weight"
VARIANCE = "features.0.1.running_var"


def drop(state: State, share: float) -> None:
    """Without so many of the body's tensors, the small ones first."""
    body = [k for k in state if not is_head(k) and not k.endswith("num_batches_tracked")]
    for key in sorted(body, key=lambda k: state[k].numel())[: int(share * len(body))]:
        del state[key]


WRONG: dict[str, tuple[Callable[[State], object], list[str]]] = {
    "few tensors": (lambda s: drop(s, 0.1), ["188 of 208 tensors", "first without a match: "]),
    "few values": (
        lambda s: s.pop("classifier.0.weight"),
        ["207 of 208 tensors", "61% of its values", "a match: classifier.0.weight; "],
    ),
    "shapes": (
        lambda s: s.update({k: torch.zeros(7) for k, v in s.items() if v.ndim == 4}),
        ["a match: features.0.0.weight (float32 7 instead of float32 16×3×3×3)"],
    ),
    "integers": (
        lambda s: s.update({k: (9 * v).to(torch.int8) for k, v in s.items()}),
        ["0 of 208", "(int8 16×3×3×3 instead of float32 16×3×3×3), "],
    ),
    "complex": (
        lambda s: s.update({k: v + 0j for k, v in s.items()}),
        ["0 of 208", "complex64 16×3×3×3 instead"],
    ),
    "a larger network": (
        lambda s: s.update({"features.13.weight": torch.zeros(999, 999)}),
        ["has 998,001 values more than", "in 1 (features.13.weight)"],
    ),
    "another network": (
        lambda s: [s.update({k.replace("features.", "layers."): s.pop(k)}) for k in list(s)],
        ["first without a match: ", "; the file's: layers.0.0.weight, "],
    ),
    "nothing": (dict.clear, ["0 of 208", "the file's: none"]),
    "nan": (
        lambda s: s.update({VARIANCE: torch.full((16,), float("nan"))}),
        [f"not finite, in 1 ({VARIANCE})", "before the training diverged"],
    ),
    "infinity": (
        lambda s: s.update({VARIANCE: torch.full((16,), float("inf")).half()}),
        [f"not finite, in 1 ({VARIANCE})"],
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_named_and_changes_nothing(wrong: str) -> None:
    spoil, words = WRONG[wrong]
    state = dict(source())
    spoil(state)
    backbone = loadable()
    before = {k: v.clone() for k, v in backbone.model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        load_pretrained(backbone, state)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert all(torch.equal(before[k], v) for k, v in backbone.model.state_dict().items())


def test_a_deeper_network_of_the_same_shapes_is_another_one() -> None:
    with pytest.raises(
        WeightsError, match=r"10,\d+,\d+ values more than resnet18's 11,.* in \d+ \(layer1.2.conv1"
    ):
        load_pretrained(loadable("resnet18"), source("resnet34"))


def test_few_missing_tensors_stay_random_and_are_said() -> None:
    state, backbone = dict(source()), loadable()
    state[WEIGHT] = torch.zeros(16, 1, 3, 3)  # of grey images
    del state[VARIANCE]
    state["projector.weight"] = torch.zeros(3)
    before = backbone.model.state_dict()[WEIGHT].clone()
    said = load_pretrained(backbone, state).in_words("it")
    assert torch.equal(backbone.model.state_dict()[WEIGHT], before)
    assert said == (
        "206 of 208 tensors of it's body are loaded; left out: 4 (features.0.0.weight, "
        "classifier.3.weight, classifier.3.bias, …); missing, and random at the start: 2 "
        f"({WEIGHT} (float32 16×1×3×3 instead of float32 16×3×3×3), {VARIANCE})"
    )


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float8_e4m3fn])
def test_other_types_of_numbers_are_converted(kind: torch.dtype) -> None:
    backbone, given = loadable(), {k: v.to(kind) for k, v in source().items()}
    load_pretrained(backbone, given)
    assert torch.equal(backbone.model.state_dict()[WEIGHT], given[WEIGHT].float())


def test_on_the_meta_device_weights_are_matched_and_nothing_is_built() -> None:
    with torch.device("meta"):
        network = loadable()
    said = match_state(network, dict(halves()))
    assert said.in_words("it") == (
        "208 of 208 tensors of it's body are loaded, widened from float16; left out: none; "
        "missing: none"
    )


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "vit_b_32"])
def test_a_network_is_found_under_the_prefix_that_wrapping_it_gave(name: str) -> None:
    state = source(name)
    wrapped = {f"module.{key}": value for key, value in state.items()}
    backbone = loadable(name)
    load_pretrained(backbone, {**wrapped, "queue": torch.zeros(3)})
    loaded = backbone.model.state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in state.items() if not is_head(k))


@pytest.mark.parametrize(
    ("prefixes", "found"),
    [
        (["module.backbone."], "module.backbone."),
        (["_orig_mod.net."], "_orig_mod.net."),
        (["student.backbone.", "teacher.backbone."], "student.backbone."),
        (["module.momentum.", "module.encoder."], "module.encoder."),
    ],
)
def test_prefixes_are_stripped_and_said(prefixes: list[str], found: str) -> None:
    state = {prefix + key: v for prefix in prefixes for key, v in source().items()}
    said = load_pretrained(loadable(), state).in_words("it")
    assert f", their names without {found}; " in said


def test_of_two_networks_in_a_file_none_is_guessed() -> None:
    twice = {f"{p}.{key}": v for p in ("left", "right") for key, v in source().items()}
    with pytest.raises(WeightsError, match=r"has mobilenet_v3_small 2 times, under left., right."):
        load_pretrained(loadable(), twice)


def test_position_embeddings_of_a_vit_are_interpolated() -> None:
    key = "encoder.pos_embedding"
    state = {k: v.to(torch.float16) for k, v in source("vit_b_32", size=96).items()}
    backbone = loadable("vit_b_32", size=64)
    said = load_pretrained(backbone, state).in_words("it")
    assert f"; interpolated to this size: 1 ({key} from float16 1×10×768); " in said
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
    said = load_pretrained(loadable("vit_b_32", size=64), state).in_words("vit_b_32")
    assert "random at the start: 1 (encoder.pos_embedding (float32 1×7×768 instead of" in said


def test_a_vit_of_torchvisions_first_release_is_read() -> None:
    # Its published files call the MLP's layers linear_1 and linear_2.
    state = {
        k.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v
        for k, v in source("vit_b_32", size=96).items()
    }
    assert any("linear_2" in k for k in state)
    backbone = loadable("vit_b_32", size=96)
    load_pretrained(backbone, state)
    loaded = backbone.model.state_dict()
    assert all(
        torch.equal(loaded[k], v) for k, v in source("vit_b_32", size=96).items() if not is_head(k)
    )
