"""Optimizers against torch's own; who is decayed; averages and norms of steps by hand."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models.strategies import strategy
from tests.training.small import figures, same, trainer, weights
from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.optimization import Adam, AdamW, Optimizer, RmsProp, Sgd
from tlsearch.config.strategy import Strategy
from tlsearch.models.backbones import build_backbone
from tlsearch.training.optim import (
    StepNorms,
    WeightAverage,
    add_l1_gradient,
    build_optimizer,
    is_decayed,
)
from tlsearch.training.plan import TrainPlan, make_plan
from tlsearch.training.trainer import Trainer

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
    "convnext_tiny",
    "vit_b_32",
    "swin_t",
    "swin_v2_t",
)


def test_offsets_and_scales_are_spared_in_every_family() -> None:
    spared = set()
    for name in ONE_OF_EACH_FAMILY:
        with torch.device("meta"):
            size = CATALOGUE[name].native_size
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


OfTorch = Callable[[list[nn.Parameter]], torch.optim.Optimizer]
CASES: list[tuple[Optimizer, OfTorch]] = [
    (
        Sgd(momentum=0.9, nesterov=False),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.2),
    ),
    (
        Sgd(momentum=0.9, nesterov=True),
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2),
    ),
    (
        Adam(beta1=0.8, beta2=0.95),
        lambda p: torch.optim.Adam(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2),
    ),
    (
        AdamW(beta1=0.8, beta2=0.95),
        lambda p: torch.optim.AdamW(p, lr=0.1, betas=(0.8, 0.95), weight_decay=0.2),
    ),
    (
        RmsProp(alpha=0.9, momentum=0.5),
        lambda p: torch.optim.RMSprop(p, lr=0.1, alpha=0.9, momentum=0.5, weight_decay=0.2),
    ),
]


@pytest.mark.parametrize(("choice", "of_torch"), CASES)
def test_three_steps_are_those_of_torch(choice: Optimizer, of_torch: OfTorch) -> None:
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
    history = [[torch.randn(p.shape, generator=generator) for p in theirs] for _ in range(3)]
    for grads in history:
        for ours_p, theirs_p, grad in zip(ours, theirs, grads, strict=True):
            ours_p.grad = grad.clone().contiguous(
                memory_format=torch.channels_last if grad.ndim == 4 else torch.contiguous_format
            )
            theirs_p.grad = grad.clone()
        first.step()
        second.step()
    for ours_p, theirs_p in zip(ours, theirs, strict=True):
        torch.testing.assert_close(ours_p, theirs_p, rtol=1e-5, atol=1e-6)


# Norms of gradients and updates.

PLAIN = {"optimizer": Sgd(momentum=0.0, nesterov=False), "lr": 0.05}


def test_l1_adds_the_sign_of_each_decayed_weight_that_has_a_gradient() -> None:
    named = layers()
    conv, bias = named["trunk"]["conv.weight"], named["trunk"]["conv.bias"]
    named["head"]["fc.weight"].grad = None
    assert conv.grad is not None
    assert bias.grad is not None
    before, bias_before = conv.grad.clone(), bias.grad.clone()
    add_l1_gradient(build_optimizer(plan(strategy()), named, distances={}), 0.3)
    torch.testing.assert_close(conv.grad, before + 0.3 * conv.detach().sign())
    assert torch.equal(bias.grad, bias_before)
    assert named["head"]["fc.weight"].grad is None


def test_updates_by_hand() -> None:
    steps = StepNorms(updates=True)
    moving, standing = (nn.Parameter(torch.zeros(2)) for _ in range(2))
    moving.grad = torch.zeros(2)

    def move(*by: float) -> None:
        with steps.update([moving, standing]):
            moving.data += torch.tensor(by)
            standing.data += 9  # has no gradient, so no optimizer moves it

    move(3.0, -4.0)
    assert steps.largest_update == 5
    move(1.0, 1.0)
    assert steps.largest_update == 5
    standing.grad = torch.zeros(2)  # a group that opens
    move(0.0, 0.0)
    assert steps.largest_update == pytest.approx(9 * math.sqrt(2))


def test_plain_gradient_descent_moves_by_rate_times_gradient() -> None:
    training = trainer(strategy(**PLAIN), measure_updates=True)
    results = list(training.epochs())
    assert len(training.steps.gradients) == training.plan.total_steps
    assert training.steps.largest_gradient == max(r.max_grad_norm for r in results)
    largest = max(training.steps.gradients)
    assert training.steps.largest_update == pytest.approx(0.05 * largest, rel=1e-4)


def test_frozen_groups_are_no_part_of_an_update_and_measuring_changes_no_bit() -> None:
    chosen = strategy(**PLAIN, freeze_depth=3, unfreeze_every_epochs=1)
    plain, measured = (trainer(chosen, measure_updates=m) for m in (False, True))
    assert figures(plain.epochs()) == figures(measured.epochs())
    assert all(torch.equal(a, b) for a, b in zip(*map(_values, (plain, measured)), strict=True))
    assert measured.steps.largest_update > 0


def test_an_epoch_is_not_charged_for_what_measuring_costs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = trainer(num_epochs=2, measure_updates=True)
    keep = training.steps._keep

    def slowly(moving: list[torch.Tensor]) -> None:
        time.sleep(0.1)
        keep(moving)

    monkeypatch.setattr(training.steps, "_keep", slowly)
    started = time.perf_counter()
    results = list(training.epochs())
    assert training.steps.seconds >= 1.0  # five steps each
    reported = sum(r.seconds for r in results)
    assert 0 < reported <= time.perf_counter() - started - training.steps.seconds


def _values(of: object) -> list[torch.Tensor]:
    return list(weights(of).values())  # type: ignore[arg-type]


# The average of the weights.


def averages_by_hand(training: Trainer, decay: float) -> dict[str, Tensor]:
    """Train to the end, noting the weights after each step; their average."""
    trail: list[dict[str, Tensor]] = []
    step = training.optimizer.step

    def noted(*args: Any) -> Any:
        found = step(*args)
        trail.append(weights(training))
        return found

    training.optimizer.step = noted  # type: ignore[method-assign]
    list(training.epochs())
    assert len(trail) == training.plan.total_steps > 10
    mean = dict(trail[0])
    for t, state in enumerate(trail[1:], start=1):
        d = min(decay, (1 + t) / (10 + t))
        for name, value in state.items():
            mean[name] = d * mean[name] + (1 - d) * value if value.is_floating_point() else value
    return mean


def test_the_average_is_that_of_hand_arithmetic_statistics_included() -> None:
    training = trainer(strategy(ema_decay=0.4, dropout=0.2))  # reached at the sixth of 15 steps
    by_hand = averages_by_hand(training, 0.4)
    live = weights(training)
    result = training.finish()
    kept = weights(training)
    assert not same(kept, live)
    for name, value in kept.items():
        torch.testing.assert_close(value, by_hand[name], rtol=1e-5, atol=1e-7)
    # What was validated last is what is kept.
    logits, labels = training.forward.evaluate(training.data.validation)
    assert result.chosen is not None
    assert result.chosen.val_loss == F.cross_entropy(logits, labels).item()


def test_a_short_training_is_not_left_at_its_start() -> None:
    weight = torch.zeros(1)
    average = WeightAverage({"w": weight}, decay=0.999)
    for step in range(70):  # one unit a step
        weight.fill_(step)
        average.update()
    with average.applied():
        assert 55 < weight.item() < 69  # 0.999 from the first step on would come to 2.4
