"""One step of every optimizer, against hand arithmetic and torch's own; who is decayed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tests.models.strategies import strategy
from tlsearch.config.catalog import BACKBONES
from tlsearch.config.optimizers import Adam, AdamW, Optimizer, RmsProp, Sgd
from tlsearch.config.strategy import Strategy
from tlsearch.models.backbones import build_backbone
from tlsearch.training.optim import (
    add_l1_gradient,
    build_optimizer,
    is_decayed,
    parameter_groups,
    set_lr,
)
from tlsearch.training.plan import TrainPlan, make_plan

Named = dict[str, dict[str, nn.Parameter]]


def layers(seed: int = 0) -> Named:
    """Two layer groups with a weight and a bias each, and gradients on all."""
    generator = torch.Generator().manual_seed(seed)

    def parameter(*shape: int) -> nn.Parameter:
        made = nn.Parameter(torch.randn(*shape, generator=generator))
        made.grad = torch.randn(*shape, generator=generator)
        return made

    return {
        "trunk": {"conv.weight": parameter(4, 3, 3, 3), "conv.bias": parameter(4)},
        "head": {"fc.weight": parameter(2, 4), "fc.bias": parameter(2)},
    }


def plan(chosen: Strategy) -> TrainPlan:
    return make_plan(chosen, groups=("trunk", "head"), num_train_images=16, num_epochs=4)


def test_groups_carry_their_share_of_the_rate() -> None:
    named = layers()
    optimizer = build_optimizer(plan(strategy(lr=0.4, lr_ratio=0.25)), named, distances={})
    rows = {(row["name"], row["decayed"]): row for row in optimizer.param_groups}
    assert set(rows) == {(g, d) for g in ("trunk", "head") for d in (True, False)}
    assert rows["trunk", True]["params"] == [named["trunk"]["conv.weight"]]
    assert rows["head", False]["params"] == [named["head"]["fc.bias"]]
    shares = [(0.4, {"trunk": 0.1, "head": 0.4}), (0.02, {"trunk": 0.005, "head": 0.02})]
    for rate, share in shares:
        set_lr(optimizer, rate)
        assert {k[0]: row["lr"] for k, row in rows.items()} == pytest.approx(share)


def test_groups_that_never_train_are_left_out() -> None:
    rows = parameter_groups(plan(strategy(freeze_depth=1)), layers(), distances={})
    assert {row["name"] for row in rows} == {"head"}
    opened = strategy(freeze_depth=1, unfreeze_every_epochs=1)
    assert {row["name"] for row in parameter_groups(plan(opened), layers(), distances={})} == {
        "trunk",
        "head",
    }


@pytest.mark.parametrize("everywhere", [False, True])
def test_decay_reaches_weights_alone_unless_asked(everywhere: bool) -> None:
    named = layers()
    before = {n: p.detach().clone() for g in named.values() for n, p in g.items()}
    chosen = strategy(
        lr=0.1,
        optimizer=Sgd(momentum=0.0, nesterov=False),
        weight_decay=0.5,
        decay_norm_and_bias=everywhere,
    )
    build_optimizer(plan(chosen), named, distances={}).step()
    for group in named.values():
        for name, p in group.items():
            assert p.grad is not None
            decay = 0.5 if everywhere or name.endswith("weight") else 0.0
            expected = before[name] - 0.1 * (p.grad + decay * before[name])
            torch.testing.assert_close(p.detach(), expected)


ONE_OF_EACH_FAMILY = (
    "resnet18",
    "vgg11_bn",
    "mobilenet_v3_small",
    "efficientnet_v2_s",
    "convnext_tiny",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
)


def test_offsets_and_scales_are_spared_in_every_family() -> None:
    spared = set()
    for name in ONE_OF_EACH_FAMILY:
        with torch.device("meta"):
            size = BACKBONES[name].native_size
            built = build_backbone(name=name, num_classes=3, image_size=size, dropout=0, seed=0)
        for parameter, value in built.model.named_parameters():
            if value.ndim > 1 and not is_decayed(parameter, value):
                spared.add(parameter.rsplit(".", 1)[-1])
            layer, _, leaf = parameter.rpartition(".")
            if isinstance(built.model.get_submodule(layer), nn.Linear | nn.Conv2d):
                assert is_decayed(parameter, value) == (leaf == "weight"), (name, parameter)
    assert spared == {
        "class_token",
        "layer_scale",
        "logit_scale",
        "pos_embedding",
        "relative_position_bias_table",
    }


Update = Callable[[Tensor, list[Tensor], float, float], Tensor]


def sgd_by_hand(w: Tensor, grads: list[Tensor], lr: float, decay: float) -> Tensor:
    velocity = torch.zeros_like(w)
    for grad in grads:
        velocity = 0.9 * velocity + grad + decay * w
        w = w - lr * velocity
    return w


def nesterov_by_hand(w: Tensor, grads: list[Tensor], lr: float, decay: float) -> Tensor:
    velocity = torch.zeros_like(w)
    for grad in grads:
        full = grad + decay * w
        velocity = 0.9 * velocity + full
        w = w - lr * (full + 0.9 * velocity)
    return w


def adam_by_hand(w: Tensor, grads: list[Tensor], lr: float, decay: float) -> Tensor:
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for t, grad in enumerate(grads, start=1):
        full = grad + decay * w
        mean = 0.8 * mean + 0.2 * full
        square = 0.95 * square + 0.05 * full**2
        w = w - lr * (mean / (1 - 0.8**t)) / ((square / (1 - 0.95**t)).sqrt() + 1e-8)
    return w


def adamw_by_hand(w: Tensor, grads: list[Tensor], lr: float, decay: float) -> Tensor:
    mean, square = torch.zeros_like(w), torch.zeros_like(w)
    for t, grad in enumerate(grads, start=1):
        w = w * (1 - lr * decay)
        mean = 0.8 * mean + 0.2 * grad
        square = 0.95 * square + 0.05 * grad**2
        w = w - lr * (mean / (1 - 0.8**t)) / ((square / (1 - 0.95**t)).sqrt() + 1e-8)
    return w


def rmsprop_by_hand(w: Tensor, grads: list[Tensor], lr: float, decay: float) -> Tensor:
    square, velocity = torch.zeros_like(w), torch.zeros_like(w)
    for grad in grads:
        full = grad + decay * w
        square = 0.9 * square + 0.1 * full**2
        velocity = 0.5 * velocity + full / (square.sqrt() + 1e-8)
        w = w - lr * velocity
    return w


CASES: list[tuple[Optimizer, Update, Callable[[list[nn.Parameter]], torch.optim.Optimizer]]] = [
    (
        Sgd(momentum=0.9, nesterov=False),
        sgd_by_hand,
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.2),
    ),
    (
        Sgd(momentum=0.9, nesterov=True),
        nesterov_by_hand,
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2),
    ),
    (
        Adam(beta1=0.8, beta2=0.95),
        adam_by_hand,
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2),
    ),
    (
        AdamW(beta1=0.8, beta2=0.95),
        adamw_by_hand,
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2),
    ),
    (
        RmsProp(alpha=0.9, momentum=0.5),
        rmsprop_by_hand,
        lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.5, weight_decay=0.2),
    ),
]


@pytest.mark.parametrize(("choice", "by_hand", "of_torch"), CASES)
def test_three_steps_are_those_of_hand_arithmetic_and_of_torch(
    choice: Optimizer,
    by_hand: Update,
    of_torch: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
) -> None:
    # Convolutions lie in memory as the loop keeps them: fused kernels must not care.
    def weights() -> list[nn.Parameter]:
        made = layers()["trunk"]["conv.weight"], layers()["head"]["fc.weight"]
        return [nn.Parameter(p.detach().clone(memory_format=torch.preserve_format)) for p in made]

    ours, theirs = weights(), weights()
    ours[0].data = ours[0].data.contiguous(memory_format=torch.channels_last)
    named = {"trunk": {"conv.weight": ours[0]}, "head": {"fc.weight": ours[1]}}
    chosen = strategy(lr=0.1, optimizer=choice, weight_decay=0.2, decay_norm_and_bias=True)
    first, second = build_optimizer(plan(chosen), named, distances={}), of_torch(theirs)
    generator = torch.Generator().manual_seed(1)
    start = [p.detach().clone() for p in theirs]
    history = [[torch.randn(p.shape, generator=generator) for p in theirs] for _ in range(3)]
    for grads in history:
        for ours_p, theirs_p, grad in zip(ours, theirs, grads, strict=True):
            ours_p.grad = grad.clone().contiguous(
                memory_format=torch.channels_last if grad.ndim == 4 else torch.contiguous_format
            )
            theirs_p.grad = grad.clone()
        first.step()
        second.step()
    for i, (ours_p, theirs_p) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(ours_p, theirs_p, rtol=1e-5, atol=1e-6)
        expected = by_hand(start[i], [grads[i] for grads in history], 0.1, 0.2)
        torch.testing.assert_close(ours_p.detach(), expected, rtol=1e-4, atol=1e-5)


def test_a_parameter_without_a_gradient_stands_still_whatever_the_decay() -> None:
    for choice, *_ in CASES:
        named = layers()
        for p in named["trunk"].values():
            p.grad = None
        before = {n: p.detach().clone() for n, p in named["trunk"].items()}
        optimizer = build_optimizer(
            plan(strategy(optimizer=choice, weight_decay=0.5)), named, distances={}
        )
        for _ in range(2):
            optimizer.step()
        assert all(torch.equal(before[n], p) for n, p in named["trunk"].items()), choice
        assert not any(p in optimizer.state for p in named["trunk"].values())


def test_l1_adds_the_sign_of_each_decayed_weight() -> None:
    named = layers()
    conv, bias = named["trunk"]["conv.weight"], named["trunk"]["conv.bias"]
    named["head"]["fc.weight"].grad = None
    with torch.no_grad():
        conv[0, 0, 0, 0] = 0.0
    assert conv.grad is not None
    assert bias.grad is not None
    before, bias_before = conv.grad.clone(), bias.grad.clone()
    add_l1_gradient(build_optimizer(plan(strategy()), named, distances={}), 0.3)
    torch.testing.assert_close(conv.grad, before + 0.3 * conv.detach().sign())
    assert conv.grad[0, 0, 0, 0] == before[0, 0, 0, 0]
    assert torch.equal(bias.grad, bias_before)
    assert named["head"]["fc.weight"].grad is None


def test_l1_is_the_gradient_of_the_penalty() -> None:
    named = layers()
    weight = named["head"]["fc.weight"]
    assert weight.grad is not None
    plain = weight.grad.clone()
    (penalty,) = torch.autograd.grad(0.3 * weight.abs().sum(), weight)
    add_l1_gradient(build_optimizer(plan(strategy()), named, distances={}), 0.3)
    torch.testing.assert_close(weight.grad, plain + penalty)
