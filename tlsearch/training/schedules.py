"""Learning-rate schedules as pure functions of the step: a factor on the base rate.

Warm-up comes first and decay begins where it ends, as in torch's `SequentialLR`.
"""

import math
from collections.abc import Sequence

from tlsearch.config.strategy import (
    Constant,
    CosineDecay,
    ExponentialDecay,
    PlateauDecay,
    Schedule,
    StepDecay,
)

PLATEAU_THRESHOLD = 1e-4
"""Relative improvement that counts as one; the value of torch's `ReduceLROnPlateau`."""


def lr_factor(
    step: int,
    *,
    schedule: Schedule,
    warmup_steps: int,
    warmup_start_fraction: float,
    total_steps: int,
    steps_per_epoch: int,
) -> float:
    """Factor on the base rate at `step`, counted from 0; plateau decay is not part of it."""
    if step < warmup_steps:
        return warmup_factor(step, num_steps=warmup_steps, start_fraction=warmup_start_fraction)
    since, span = step - warmup_steps, max(total_steps - warmup_steps, 1)
    match schedule:
        case StepDecay():
            return math.pow(schedule.gamma, since // (schedule.every_epochs * steps_per_epoch))
        case ExponentialDecay():
            return math.pow(schedule.gamma, since / steps_per_epoch)
        case CosineDecay():
            low = schedule.final_lr_fraction
            return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * min(since / span, 1)))
        case Constant() | PlateauDecay():
            return 1.0


def warmup_factor(step: int, *, num_steps: int, start_fraction: float) -> float:
    """Linear from just above `start_fraction` to 1 at `num_steps`; no step has a rate of 0.

    Source: gradual warm-up, arXiv:1706.02677.
    """
    return start_fraction + (1 - start_fraction) * (step + 1) / (num_steps + 1)


def plateau_reductions(losses: Sequence[float], *, patience_epochs: int) -> int:
    """How often `ReduceLROnPlateau` has cut the rate after these validation losses."""
    best, bad_epochs, reductions = math.inf, 0, 0
    for loss in losses:
        if loss < best * (1 - PLATEAU_THRESHOLD):
            best, bad_epochs = loss, 0
        else:
            bad_epochs += 1
        if bad_epochs > patience_epochs:
            reductions, bad_epochs = reductions + 1, 0
    return reductions
