"""Norms of gradients and updates, by hand and in a training."""

import math
import time

import pytest
import torch
from torch import nn

from tests.models.strategies import strategy
from tests.training.small import figures, trainer, weights
from tlsearch.config.optimizers import Sgd
from tlsearch.training.optim import StepNorms

PLAIN = {"optimizer": Sgd(momentum=0.0, nesterov=False), "lr": 0.05}


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


def test_updates_that_are_not_measured() -> None:
    steps = StepNorms(updates=False)
    weight = nn.Parameter(torch.zeros(2))
    weight.grad = torch.ones(2)
    with steps.update([weight]):
        weight.data += 1
    assert math.isnan(steps.largest_update)


def test_the_largest_gradient_is_the_largest_finite_one() -> None:
    steps = StepNorms(updates=False)
    assert steps.largest_gradient == 0
    steps.gradients = [1.0, 3.0, math.inf, math.nan, 2.0]
    assert steps.largest_gradient == 3


def test_plain_gradient_descent_moves_by_rate_times_gradient() -> None:
    training = trainer(strategy(**PLAIN), measure_updates=True)
    results = list(training.epochs())
    assert len(training.steps.gradients) == training.plan.total_steps
    assert training.steps.largest_gradient == max(r.max_grad_norm for r in results)
    largest = max(training.steps.gradients)
    assert training.steps.largest_update == pytest.approx(0.05 * largest, rel=1e-4)


def test_clipping_shortens_steps_and_not_what_is_told_of_the_gradient() -> None:
    training = trainer(strategy(**PLAIN, clip_norm=0.1), measure_updates=True)
    list(training.epochs())
    assert training.steps.largest_update == pytest.approx(0.05 * 0.1, rel=1e-3)
    assert training.steps.largest_gradient > 0.1


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
    told = sum(r.seconds for r in results)
    assert 0 < told <= time.perf_counter() - started - training.steps.seconds


def _values(of: object) -> list[torch.Tensor]:
    return list(weights(of).values())  # type: ignore[arg-type]
