"""Schedules against torch's own schedulers, and against tables worked by hand."""

import math
import random
import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
import torch
from torch.optim import lr_scheduler as torchs

from tlsearch.config.optimization import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    PlateauDecay,
    Schedule,
    StepDecay,
    lr_factor,
)

EPOCHS, STEPS = 6, 5
TOTAL = EPOCHS * STEPS
Make = Callable[[torch.optim.Optimizer, int], torchs.LRScheduler]


def rates(make: Callable[[torch.optim.Optimizer], torchs.LRScheduler]) -> list[float]:
    """The rate of each step under a scheduler of torch's, from a rate of 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR calls its parts in a deprecated way
        scheduler = make(optimizer)
        for _ in range(TOTAL):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
    return found


def factors(
    schedule: Schedule,
    *,
    warmup_steps: int = 0,
    start: float = 0.0,
    losses: Sequence[float] = (),
) -> list[float]:
    return [
        lr_factor(
            step,
            schedule=schedule,
            warmup_steps=warmup_steps,
            warmup_start_fraction=start,
            total_steps=TOTAL,
            steps_per_epoch=STEPS,
            val_losses=losses,
        )
        for step in range(TOTAL)
    ]


PAIRS: list[tuple[Schedule, Make]] = [
    (Constant(), lambda o, _: torchs.ConstantLR(o, factor=1.0)),
    (StepDecay(every_epochs=2, gamma=0.3), lambda o, _: torchs.StepLR(o, 2 * STEPS, gamma=0.3)),
    (ExponentialDecay(gamma=0.5), lambda o, _: torchs.ExponentialLR(o, 0.5 ** (1 / STEPS))),
    (CosineDecay(final_lr_fraction=0.0), lambda o, n: torchs.CosineAnnealingLR(o, n)),
    (CosineDecay(final_lr_fraction=0.2), lambda o, n: torchs.CosineAnnealingLR(o, n, eta_min=0.2)),
    (PlateauDecay(factor=0.1, patience_epochs=2), lambda o, _: torchs.ConstantLR(o, factor=1.0)),
]


@pytest.mark.parametrize(("schedule", "make"), PAIRS)
def test_decay_is_that_of_torch(schedule: Schedule, make: Make) -> None:
    assert factors(schedule) == pytest.approx(rates(lambda o: make(o, TOTAL)), abs=1e-12)


@pytest.mark.parametrize("start", [0.0, 0.25])
@pytest.mark.parametrize("warmup", [1, 4, 10])
@pytest.mark.parametrize(("schedule", "make"), PAIRS)
def test_warmup_then_decay_is_torchs_sequence(
    schedule: Schedule, make: Make, warmup: int, start: float
) -> None:
    def sequence(optimizer: torch.optim.Optimizer) -> torchs.LRScheduler:
        first = start + (1 - start) / (warmup + 1)
        return torchs.SequentialLR(
            optimizer,
            [
                torchs.LinearLR(optimizer, start_factor=first, total_iters=warmup),
                make(optimizer, TOTAL - warmup),
            ],
            milestones=[warmup],
        )

    ours = factors(schedule, warmup_steps=warmup, start=start)
    assert ours == pytest.approx(rates(sequence), abs=1e-12)


def test_tables_worked_by_hand() -> None:
    step = factors(StepDecay(every_epochs=2, gamma=0.1))
    assert step == pytest.approx([1.0] * 10 + [0.1] * 10 + [0.01] * 10)
    exponential = factors(ExponentialDecay(gamma=0.5))
    assert exponential[::STEPS] == pytest.approx([1, 0.5, 0.25, 0.125, 0.0625, 0.03125])
    cosine = factors(CosineDecay(final_lr_fraction=0.1))
    assert [cosine[i] for i in (0, 10, 15, 20)] == pytest.approx([1, 0.775, 0.55, 0.325])
    warm = factors(Constant(), warmup_steps=4)
    assert warm[:6] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1])
    assert factors(Constant(), warmup_steps=1, start=0.5)[:2] == [0.75, 1]


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in PAIRS])
@pytest.mark.parametrize("warmup", [0, 1, TOTAL - 1])
def test_no_step_is_without_a_rate_and_none_above_the_base(schedule: Schedule, warmup: int) -> None:
    found = factors(schedule, warmup_steps=warmup)
    assert all(0 < f <= 1 for f in found)
    assert all(a < b for a, b in pairwise(found[: warmup + 1]))
    assert found[warmup] == 1


@pytest.mark.parametrize("patience", [0, 1, 2, 3])
def test_plateau_cuts_when_torch_does(patience: int) -> None:
    draw = random.Random(patience)
    for _ in range(20):
        losses = [draw.choice([1.0, 0.99995, 0.9, 0.5, draw.random()]) for _ in range(30)]
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        scheduler = torchs.ReduceLROnPlateau(optimizer, factor=0.5, patience=patience, eps=0)
        for i, loss in enumerate(losses):
            scheduler.step(loss)
            schedule = PlateauDecay(factor=0.5, patience_epochs=patience)
            (found,) = set(factors(schedule, losses=losses[: i + 1]))
            assert found == optimizer.param_groups[0]["lr"]


ALMOST = 1 - 0.9e-4  # less than a relative 1e-4 better: no improvement


@pytest.mark.parametrize(
    ("losses", "cuts"),
    [
        ([], 0),
        ([1.0, 1.0], 0),
        ([1.0, 1.0, 1.0], 1),
        ([1.0, 1.0, 1.0, 1.0, 1.0], 2),
        ([1.0, ALMOST, ALMOST], 1),
        ([math.inf, 1.0, 0.9, 0.8], 0),
    ],
)
def test_plateau_by_hand(losses: list[float], cuts: int) -> None:
    found = factors(PlateauDecay(factor=0.5, patience_epochs=1), warmup_steps=1, losses=losses)
    assert found == [0.5**cuts / 2] + [0.5**cuts] * (TOTAL - 1)
