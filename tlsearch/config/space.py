"""The search space: the only home of the defaults of a strategy's dimensions."""

from collections.abc import Callable, Iterator, Mapping
from math import prod
from typing import Annotated, Any

from pydantic import Field

from tlsearch.config.augmentation import (
    ADAPTATION_SPACES,
    ADVERSARIAL_SPACES,
    AUGMENTATION_SPACES,
    IMAGE_CHANGES,
    MIXING_SPACES,
    NoAdaptationSpace,
    NoAttackSpace,
    NoAugmentationSpace,
    NoMixingSpace,
)
from tlsearch.config.choices import AnyOf, Branches, Kinds
from tlsearch.config.dimensions import (
    ALL,
    BoolDim,
    Choice,
    Dimension,
    Fixed,
    FloatDim,
    GroupsDim,
    IntDim,
    Scalar,
    WordDim,
    count,
    raw,
    values,
)
from tlsearch.config.strategy import (
    BALANCE_SPACES,
    SELECTION_SPACES,
    NoBalanceSpace,
    NoSelectionSpace,
)
from tlsearch.config.validation import Section

Suggest = Callable[[str, Dimension], Any]

Fraction = Annotated[Dimension, FloatDim(ge=0, lt=1)]
NotNegative = Annotated[Dimension, FloatDim(ge=0)]
Count = Annotated[Dimension, IntDim(ge=0)]
Positive = Annotated[Dimension, IntDim(ge=1)]
Decay = Annotated[Dimension, FloatDim(gt=0, le=1)]
Flag = Annotated[Dimension, BoolDim()]


class SgdSpace(Section):
    """SGD with (Nesterov) momentum."""

    momentum: Fraction = Fixed(0.9)
    nesterov: Flag = Fixed(False)


class AdamSpace(Section):
    """Adam: weight decay is added to the gradient."""

    beta1: Fraction = Fixed(0.9)
    beta2: Fraction = Fixed(0.999)


class AdamWSpace(Section):
    """AdamW: weight decay is apart from the gradient."""

    beta1: Fraction = Fixed(0.9)
    beta2: Fraction = Fixed(0.999)


class RmsPropSpace(Section):
    """RMSprop with momentum."""

    alpha: Fraction = Fixed(0.99)
    momentum: Fraction = Fixed(0.0)


class ConstantSpace(Section):
    """One rate throughout."""


class StepSpace(Section):
    """The rate times gamma after every few epochs; ImageNet's recipes do so at each third."""

    every_epochs: Positive = Fixed(3)
    gamma: Decay = Fixed(0.1)


class ExponentialSpace(Section):
    """The rate times gamma after every epoch; 0.9 is a guess that leaves a third after ten."""

    gamma: Decay = Fixed(0.9)


class CosineSpace(Section):
    """Half a cosine down to a fraction of the rate."""

    final_lr_fraction: Annotated[Dimension, FloatDim(ge=0, le=1)] = Fixed(0.0)


class PlateauSpace(Section):
    """The rate times factor when val_loss stalls; a patience of 2 suits short trainings."""

    factor: Annotated[Dimension, FloatDim(gt=0, lt=1)] = Fixed(0.1)
    patience_epochs: Positive = Fixed(2)


SCHEDULE_SPACES: Kinds = {
    "constant": ConstantSpace,
    "step": StepSpace,
    "exponential": ExponentialSpace,
    "cosine": CosineSpace,
    "plateau": PlateauSpace,
}
OPTIMIZER_SPACES: Kinds = {
    "sgd": SgdSpace,
    "adam": AdamSpace,
    "adamw": AdamWSpace,
    "rmsprop": RmsPropSpace,
}


class Space(Section):
    """What is fixed and what is searched: a scalar fixes, a list or {low, high} searches."""

    freeze_depth: Annotated[Count, Field(description="layer groups frozen from the input")] = Fixed(
        0
    )
    unfreeze_every_epochs: Annotated[
        Count, Field(description="gradual unfreezing: open one more group after so many; 0 never")
    ] = Fixed(0)
    lr: Annotated[Dimension, FloatDim(gt=0), Field(description="the head's learning rate")] = Fixed(
        0.01
    )
    lr_ratio: Annotated[
        Decay, Field(description="factor on the rate per layer group towards the input")
    ] = Fixed(1.0)
    schedule: Annotated[Branches, AnyOf(SCHEDULE_SPACES)] = Branches({"cosine": CosineSpace()})
    warmup_epochs: Count = Fixed(0)
    warmup_steps: Count = Fixed(0)
    warmup_start_fraction: Fraction = Fixed(0.0)
    optimizer: Annotated[Branches, AnyOf(OPTIMIZER_SPACES)] = Branches({"sgd": SgdSpace()})
    weight_decay: NotNegative = Fixed(0.0)
    decay_norm_and_bias: Flag = Fixed(False)
    l1: NotNegative = Fixed(0.0)
    dropout: Fraction = Fixed(0.0)
    # Two at the least: BatchNorm has no variance of one image.
    batch_size: Annotated[Dimension, IntDim(ge=2)] = Fixed(32)
    clip_norm: Annotated[
        Dimension,
        FloatDim(gt=0, nullable=True),
        Field(description="bound on the gradient's norm; null for none"),
    ] = Fixed(None)
    label_smoothing: Fraction = Fixed(0.0)
    patience_epochs: Annotated[
        Dimension,
        IntDim(ge=1, nullable=True),
        Field(description="stop early after so many epochs without gain; null for never"),
    ] = Fixed(None)
    augmentation: Annotated[Branches, AnyOf(AUGMENTATION_SPACES, IMAGE_CHANGES)] = Branches(
        {"none": NoAugmentationSpace()}
    )
    erasing: Annotated[
        Dimension,
        FloatDim(ge=0, le=1),
        Field(description="probability that a box of a training image is blotted out"),
    ] = Fixed(0.0)
    mixing: Annotated[Branches, AnyOf(MIXING_SPACES, IMAGE_CHANGES)] = Branches(
        {"none": NoMixingSpace()}
    )
    adversarial: Annotated[Branches, AnyOf(ADVERSARIAL_SPACES, IMAGE_CHANGES)] = Branches(
        {"none": NoAttackSpace()}
    )
    trained: Annotated[
        Dimension,
        GroupsDim(),
        Field(description="all, norms, or the layer groups that train beside the head: layer1+…"),
    ] = Fixed(ALL)
    layer_decay: Annotated[
        Decay, Field(description="factor on the rate per layer or block towards the input")
    ] = Fixed(1.0)
    l2_sp: Annotated[
        NotNegative, Field(description="pull of the body towards its pretrained weights")
    ] = Fixed(0.0)
    head_init: Annotated[
        Dimension,
        WordDim(("random", "probe")),
        Field(description="probe: the head starts as a linear probe of the frozen features"),
    ] = Fixed("random")
    feature_selection: Annotated[Branches, AnyOf(SELECTION_SPACES)] = Branches(
        {"none": NoSelectionSpace()}
    )
    class_balance: Annotated[Branches, AnyOf(BALANCE_SPACES)] = Branches({"none": NoBalanceSpace()})
    ema_decay: Annotated[
        Dimension,
        FloatDim(gt=0, lt=1, nullable=True),
        Field(description="of the moving average of the weights that is kept; null for none"),
    ] = Fixed(None)
    norm_momentum: Annotated[
        Dimension,
        FloatDim(gt=0, le=1, nullable=True),
        Field(
            description="share of a new batch in BatchNorm's running statistics; null for the "
            "network's own"
        ),
    ] = Fixed(None)
    adaptation: Annotated[
        Branches,
        AnyOf(ADAPTATION_SPACES, IMAGE_CHANGES),
        Field(description="training images are taken towards those of the source"),
    ] = Branches({"none": NoAdaptationSpace()})
    source_task_weight: Annotated[
        NotNegative,
        Field(description="of the source task's loss beside the target's, on a second head; 0 off"),
    ] = Fixed(0.0)

    def assign(self, suggest: Suggest) -> dict[str, Any]:
        """The flat parameters of one strategy, asking `suggest` for the searched ones alone.

        Names are asked in declared order; those of a choice that was not made are never asked.
        """
        params: dict[str, Any] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                chosen = params[name] = _value(name, _named(field), suggest)
                for inner, dimension in _inner(name, field, chosen):
                    params[inner] = _value(inner, dimension, suggest)
            else:
                params[name] = _value(name, field, suggest)
        return params

    def dimensions(self) -> dict[str, Dimension]:
        """Every dimension in declared order, those of all choices included."""
        found: dict[str, Dimension] = {}
        for name in type(self).model_fields:
            field = getattr(self, name)
            if isinstance(field, Branches):
                found[name] = _named(field)
                for option in field.names:
                    found.update(_inner(name, field, option))
            else:
                found[name] = field
        return found

    def searched(self) -> dict[str, Dimension]:
        """The dimensions that a sampler is asked for, those of all choices included."""
        return {n: d for n, d in self.dimensions().items() if not isinstance(d, Fixed)}

    def conditional(self) -> tuple[str, ...]:
        """The searched dimensions that exist for some choices only."""
        return tuple(
            name
            for name in self.searched()
            if "." in name and len(getattr(self, name.split(".")[0]).names) > 1
        )

    def grid_size(self) -> int | None:
        """The number of points of the full grid; None if it is infinite."""
        counts = [count(d) for d in self.searched().values()]
        return None if None in counts else prod(c for c in counts if c is not None)

    def grid(self) -> dict[str, list[Scalar]]:
        """The values of each searched dimension; `grid_size` must not be None."""
        return {name: values(dimension) for name, dimension in self.searched().items()}


def with_defaults(known: Mapping[str, Any]) -> dict[str, Any]:
    """Flat parameters of a strategy, or raw dimensions, completed by the defaults of those that
    `known` does not name at all: it was written before they existed, or need not name them.
    """
    plain = {name: raw(found) for name, found in Space().dimensions().items()}
    absent = {name for name in plain if "." not in name} - known.keys()
    return {**known, **{n: v for n, v in plain.items() if n.partition(".")[0] in absent}}


def _named(field: Branches) -> Dimension:
    return Choice(field.names) if len(field.names) > 1 else Fixed(field.names[0])


def _inner(name: str, field: Branches, chosen: str) -> Iterator[tuple[str, Dimension]]:
    option = field.options[chosen]
    for inner in type(option).model_fields:
        yield f"{name}.{chosen}.{inner}", getattr(option, inner)


def _value(name: str, dimension: Dimension, suggest: Suggest) -> Any:
    return dimension.value if isinstance(dimension, Fixed) else suggest(name, dimension)
