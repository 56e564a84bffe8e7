"""From a strategy to what the loop does: which groups are open when, at which rate, in steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

from tlsearch.config.cost import num_batches
from tlsearch.config.optimization import lr_factor
from tlsearch.config.strategy import ALL, NORMS, Strategy
from tlsearch.errors import RequestError, nearest


@dataclass(frozen=True, kw_only=True)
class Phase:
    """From `first_epoch` (counted from 1) on, `open_groups` train and all others stand still.

    Frozen groups keep BatchNorm and dropout in evaluation mode: otherwise they would still move,
    and the activations of those before the first open one could not be reused.
    """

    first_epoch: int
    open_groups: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """A strategy for one backbone and one number of images: durations in steps, rates per group."""

    strategy: Strategy
    groups: tuple[str, ...]
    phases: tuple[Phase, ...]
    lr_scales: Mapping[str, float]
    num_epochs: int
    steps_per_epoch: int
    warmup_steps: int

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return self.num_epochs * self.steps_per_epoch

    @property
    def open_groups(self) -> tuple[str, ...]:
        """Groups that train at some time, from input to head."""
        return tuple(g for g in self.groups if any(g in p.open_groups for p in self.phases))

    @property
    def norms_alone(self) -> bool:
        """Whether of the body only normalisation layers train."""
        return self.strategy.trained == NORMS

    def open_in(self, epoch: int) -> tuple[str, ...]:
        """Groups that train in `epoch` (counted from 1)."""
        return [p for p in self.phases if p.first_epoch <= epoch][-1].open_groups

    def base_lr(self, step: int, *, val_losses: Sequence[float]) -> float:
        """The head's rate at `step`, given the validation losses of the epochs before it."""
        factor = lr_factor(
            step,
            schedule=self.strategy.schedule,
            warmup_steps=self.warmup_steps,
            warmup_start_fraction=self.strategy.warmup_start_fraction,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            val_losses=val_losses,
        )
        return self.strategy.lr * factor


def make_plan(
    strategy: Strategy, *, groups: Sequence[str], num_train_images: int, num_epochs: int
) -> TrainPlan:
    """Turn epochs into steps and the freeze depth into phases.

    Raises:
        RequestError: the depth leaves no group to train, `trained` names none of the groups or
            comes with a depth, a batch has fewer than two images, or warm-up outlasts training.
    """
    if not 0 <= strategy.freeze_depth < len(groups):
        raise RequestError(
            f"space.freeze_depth = {strategy.freeze_depth}: must lie between 0 and "
            f"{len(groups) - 1}, the number of groups before the head ({', '.join(groups)})"
        )
    if min(strategy.batch_size, num_train_images) < 2:
        raise RequestError(
            f"space.batch_size = {strategy.batch_size} with {num_train_images} training images: "
            "each batch must have at least 2, because BatchNorm has no variance of one image"
        )
    steps_per_epoch = num_batches(num_train_images, batch_size=strategy.batch_size)
    total_steps = steps_per_epoch * num_epochs
    of_all = min(round(strategy.warmup_fraction * total_steps), total_steps - 1)
    warmup_steps = strategy.warmup_epochs * steps_per_epoch or strategy.warmup_steps or of_all
    if warmup_steps >= total_steps:
        unit = "epochs" if strategy.warmup_epochs else "steps"
        given = strategy.warmup_epochs or strategy.warmup_steps
        raise RequestError(
            f"space.warmup_{unit} = {given}: must be shorter than the training of "
            f"{num_epochs} epochs, {total_steps} steps — "
            "shorten the warm-up or raise budget.epochs"
        )
    return TrainPlan(
        strategy=strategy,
        groups=tuple(groups),
        phases=phases(strategy, groups=groups, num_epochs=num_epochs),
        lr_scales=MappingProxyType(lr_scales(groups, ratio=strategy.lr_ratio)),
        num_epochs=num_epochs,
        steps_per_epoch=steps_per_epoch,
        warmup_steps=warmup_steps,
    )


def lr_scales(groups: Sequence[str], *, ratio: float) -> dict[str, float]:
    """Factor on the base rate: 1 at the head, times `ratio` per group towards the input.

    Source: discriminative fine-tuning, arXiv:1801.06146.
    """
    return {group: ratio ** (len(groups) - 1 - i) for i, group in enumerate(groups)}


def batch_bounds(num_images: int, *, batch_size: int) -> list[tuple[int, int]]:
    """Start and end of each batch: `num_batches` of them, all but the last of `batch_size`."""
    starts = [batch_size * i for i in range(num_batches(num_images, batch_size=batch_size))]
    return list(pairwise([*starts, num_images]))


def phases(strategy: Strategy, *, groups: Sequence[str], num_epochs: int) -> tuple[Phase, ...]:
    """One phase, or one more for each group that gradual unfreezing opens (arXiv:1801.06146).

    Named groups train from the first epoch to the last, with the head: surgical fine-tuning
    (arXiv:2210.11466).

    Raises:
        RequestError: `trained` names what is no group, or comes with a freeze depth.
    """
    depth, every = strategy.freeze_depth, strategy.unfreeze_every_epochs
    if strategy.trained not in (ALL, NORMS):
        return (Phase(first_epoch=1, open_groups=_named_groups(strategy, groups)),)
    found = [Phase(first_epoch=1, open_groups=tuple(groups[depth:]))]
    while every and depth and found[-1].first_epoch + every <= num_epochs:
        depth -= 1
        opened = tuple(groups[depth:])
        found.append(Phase(first_epoch=found[-1].first_epoch + every, open_groups=opened))
    return tuple(found)


def _named_groups(strategy: Strategy, groups: Sequence[str]) -> tuple[str, ...]:
    """The groups that `trained` names, and the head, from input to head."""
    names = strategy.trained.split("+")
    for name in names:
        if name not in groups:
            raise RequestError(
                f"space.trained = {strategy.trained!r}: there is no layer group {name!r} (there "
                f"are {', '.join(groups)}). {nearest(name, groups)}".strip()
            )
    if strategy.freeze_depth:
        raise RequestError(
            f"space.trained = {strategy.trained!r}: says by name what trains, and "
            f"space.freeze_depth = {strategy.freeze_depth} says it by depth — set it to 0"
        )
    return tuple(group for group in groups if group in names or group == groups[-1])
