"""Optimizers and learning-rate schedules: fields with defaults and ranges, and what each builds.

Warm-up comes first and decay begins where it ends, as in torch's `SequentialLR`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

from pydantic import Field

from tlsearch.config.validation import Decay, Fraction, Positive, Share


class Optimizer:
    """Base of the optimizers; `torch_name` is that of the class in `torch.optim`, whose arguments
    the fields are named as.
    """

    torch_name: ClassVar[str]
    is_fused: ClassVar[bool] = True

    def arguments(self) -> dict[str, Any]:
        """Torch's keyword arguments, apart from rates and weight decay."""
        return {**vars(self), **({"fused": True} if self.is_fused else {})}


@dataclass(frozen=True, kw_only=True)
class Sgd(Optimizer):
    """Stochastic gradient descent with (Nesterov) momentum."""

    torch_name: ClassVar[str] = "SGD"
    momentum: Fraction = 0.9
    nesterov: bool = False


@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer):
    """Adam (arXiv:1412.6980): weight decay is added to the gradient."""

    torch_name: ClassVar[str] = "Adam"
    beta1: Fraction = 0.9
    beta2: Fraction = 0.999

    def arguments(self) -> dict[str, Any]:
        """As torch names them."""
        return {"betas": (self.beta1, self.beta2), "fused": True}


@dataclass(frozen=True, kw_only=True)
class AdamW(Adam):
    """AdamW (arXiv:1711.05101): weight decay is apart from the gradient."""

    torch_name: ClassVar[str] = "AdamW"


@dataclass(frozen=True, kw_only=True)
class RmsProp(Optimizer):
    """RMSprop with momentum; `alpha` smooths the squared gradient."""

    torch_name: ClassVar[str] = "RMSprop"
    is_fused: ClassVar[bool] = False  # torch has no fused form of it
    alpha: Fraction = 0.99
    momentum: Fraction = 0.0


OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
}


PLATEAU_THRESHOLD = 1e-4
"""Relative improvement that counts as one; the value of torch's `ReduceLROnPlateau`."""


class Progress(NamedTuple):
    """Where a training stands: `step`, counted from 0 at the end of warm-up, of `num_steps`, and
    the validation losses of the epochs that ended, those of warm-up included.
    """

    step: int
    num_steps: int
    steps_per_epoch: int
    val_losses: Sequence[float]


class Schedule(ABC):
    """Base of the schedules."""

    @abstractmethod
    def lr_factor(self, at: Progress) -> float:
        """Factor on the base rate after warm-up."""


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """One rate from the end of warm-up to the end."""

    def lr_factor(self, at: Progress) -> float:  # noqa: ARG002
        """Always 1."""
        return 1.0


@dataclass(frozen=True, kw_only=True)
class StepDecay(Schedule):
    """The rate times gamma after every few epochs; ImageNet's recipes do so at each third."""

    every_epochs: Positive = 3
    gamma: Decay = 0.1

    def lr_factor(self, at: Progress) -> float:
        """A power of `gamma`, one more after each span."""
        return math.pow(self.gamma, at.step // (self.every_epochs * at.steps_per_epoch))


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay(Schedule):
    """The rate times gamma after every epoch, in proportion within it; 0.9 is a guess that leaves a
    third after ten.
    """

    gamma: Decay = 0.9

    def lr_factor(self, at: Progress) -> float:
        """A power of `gamma`, by the fraction of epochs."""
        return math.pow(self.gamma, at.step / at.steps_per_epoch)


@dataclass(frozen=True, kw_only=True)
class CosineDecay(Schedule):
    """Half a cosine down to a fraction of the rate (arXiv:1608.03983, no restarts)."""

    final_lr_fraction: Share = 0.0

    def lr_factor(self, at: Progress) -> float:
        """From 1 to `final_lr_fraction`."""
        low, share = self.final_lr_fraction, min(at.step / max(at.num_steps, 1), 1)
        return low + (1 - low) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, kw_only=True)
class PlateauDecay(Schedule):
    """The rate times factor after more than `patience_epochs` epochs without a lower val_loss; a
    patience of 2 suits short trainings.
    """

    factor: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience_epochs: Positive = 2

    def lr_factor(self, at: Progress) -> float:
        """A power of `factor`, one more after each plateau, as torch's `ReduceLROnPlateau`."""
        best, bad_epochs, reductions = math.inf, 0, 0
        for loss in at.val_losses:
            if loss < best * (1 - PLATEAU_THRESHOLD):
                best, bad_epochs = loss, 0
            else:
                bad_epochs += 1
            if bad_epochs > self.patience_epochs:
                reductions, bad_epochs = reductions + 1, 0
        return self.factor**reductions


SCHEDULES: Mapping[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "exponential": ExponentialDecay,
    "cosine": CosineDecay,
    "plateau": PlateauDecay,
}


def lr_factor(
    step: int,
    *,
    schedule: Schedule,
    warmup_steps: int,
    warmup_start_fraction: float,
    total_steps: int,
    steps_per_epoch: int,
    val_losses: Sequence[float],
) -> float:
    """Factor on the base rate at `step`, counted from 0.

    Warm-up is linear from just above `warmup_start_fraction` to 1 at `warmup_steps`; no step has a
    rate of 0. Source: gradual warm-up, arXiv:1706.02677.
    """
    factor = schedule.lr_factor(
        Progress(
            step=max(step - warmup_steps, 0),
            num_steps=total_steps - warmup_steps,
            steps_per_epoch=steps_per_epoch,
            val_losses=val_losses,
        )
    )
    if step < warmup_steps:
        start = warmup_start_fraction
        factor *= start + (1 - start) * (step + 1) / (warmup_steps + 1)
    return factor
