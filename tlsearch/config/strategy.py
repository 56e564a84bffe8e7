"""A strategy: one point of the search space, complete and picklable, with no default of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from tlsearch.config.augmentation import (
    ADAPTATIONS,
    ATTACKS,
    AUGMENTATIONS,
    MIXINGS,
    Adaptation,
    Attack,
    Augmentation,
    Mixing,
)
from tlsearch.config.choices import Kinds
from tlsearch.config.dimensions import Dimension, Fixed, FloatDim, IntDim
from tlsearch.config.validation import Section

# Parts of a strategy: which features the head sees, and how classes are balanced.


@dataclass(frozen=True, kw_only=True)
class AllFeatures:
    """The head sees every feature."""


@dataclass(frozen=True, kw_only=True)
class Chi2:
    """The head sees the `k` features that χ² between feature and class ranks highest."""

    k: int


@dataclass(frozen=True, kw_only=True)
class Anova:
    """The head sees the `k` features that the analysis of variance ranks highest."""

    k: int


@dataclass(frozen=True, kw_only=True)
class NoBalance:
    """Every image counts alike, or by its own weight."""


@dataclass(frozen=True, kw_only=True)
class LossBalance:
    """Classes count in the loss by (1 - beta) / (1 - beta^n), n their number of images.

    With beta 1, the limit, by 1 / n. Source: effective number of samples, arXiv:1901.05555.
    """

    beta: float


@dataclass(frozen=True, kw_only=True)
class SamplingBalance:
    """Every class is drawn equally often, in epochs of the same length."""


FeatureSelection = AllFeatures | Chi2 | Anova
ClassBalance = NoBalance | LossBalance | SamplingBalance

SELECTIONS: Mapping[str, type[FeatureSelection]] = {
    "none": AllFeatures,
    "chi2": Chi2,
    "anova": Anova,
}
BALANCES: Mapping[str, type[ClassBalance]] = {
    "none": NoBalance,
    "loss": LossBalance,
    "sampling": SamplingBalance,
}


@dataclass(frozen=True, kw_only=True)
class Sgd:
    """Stochastic gradient descent with (Nesterov) momentum."""

    momentum: float
    nesterov: bool


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (arXiv:1412.6980): weight decay is added to the gradient."""

    beta1: float
    beta2: float


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """AdamW (arXiv:1711.05101): weight decay is apart from the gradient."""

    beta1: float
    beta2: float


@dataclass(frozen=True, kw_only=True)
class RmsProp:
    """RMSprop with momentum; `alpha` smooths the squared gradient."""

    alpha: float
    momentum: float


@dataclass(frozen=True, kw_only=True)
class Constant:
    """One rate from the end of warm-up to the end."""


@dataclass(frozen=True, kw_only=True)
class StepDecay:
    """The rate times `gamma` after every `every_epochs` epochs."""

    every_epochs: int
    gamma: float


@dataclass(frozen=True, kw_only=True)
class ExponentialDecay:
    """The rate times `gamma` after every epoch, in proportion within it."""

    gamma: float


@dataclass(frozen=True, kw_only=True)
class CosineDecay:
    """Half a cosine from the rate to `final_lr_fraction` of it (arXiv:1608.03983, no restarts)."""

    final_lr_fraction: float


@dataclass(frozen=True, kw_only=True)
class PlateauDecay:
    """The rate times `factor` after more than `patience_epochs` epochs without a lower val_loss."""

    factor: float
    patience_epochs: int


Optimizer = Sgd | Adam | AdamW | RmsProp
Schedule = Constant | StepDecay | ExponentialDecay | CosineDecay | PlateauDecay

OPTIMIZERS: Mapping[str, type[Optimizer]] = {
    "sgd": Sgd,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
}
SCHEDULES: Mapping[str, type[Schedule]] = {
    "constant": Constant,
    "step": StepDecay,
    "exponential": ExponentialDecay,
    "cosine": CosineDecay,
    "plateau": PlateauDecay,
}
CHOICES: Mapping[str, Mapping[str, type[Any]]] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "augmentation": AUGMENTATIONS,
    "mixing": MIXINGS,
    "adversarial": ATTACKS,
    "feature_selection": SELECTIONS,
    "class_balance": BALANCES,
    "adaptation": ADAPTATIONS,
}
"""The fields of a strategy that are choices with parameters of their own."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How one training transfers a pretrained network.

    `freeze_depth` counts layer groups from the input; `unfreeze_every_epochs` opens the deepest
    frozen group after each such span (0: never). `lr` is the head's rate, `lr_ratio` the factor
    per group towards the input. Warm-up is given in epochs or in steps, never both, and starts
    at `warmup_start_fraction` of the rate. `clip_norm` bounds the gradient's 2-norm;
    `patience_epochs` stops early; None turns either off. Of a training image `augmentation` makes a
    view, a box of which is erased with probability `erasing`; `mixing` joins two, and `adversarial`
    attacks the outcome. `trained` names the groups that train beside the head, joined by `+`, or is
    "all" or "norms"; `layer_decay` is the factor per layer towards the input; `l2_sp` pulls the
    body towards its start; `ema_decay` is that of the moving average of the weights that is kept,
    None for the weights themselves. `norm_momentum` is the share of a new batch in BatchNorm's
    running statistics, None for the network's own. `source_task_weight` is that of the source
    task's loss, learnt beside the target's on a second head (0: without).
    """

    init: Literal["pretrained", "random"]
    freeze_depth: int
    unfreeze_every_epochs: int
    lr: float
    lr_ratio: float
    schedule: Schedule
    warmup_epochs: int
    warmup_steps: int
    warmup_start_fraction: float
    optimizer: Optimizer
    weight_decay: float
    decay_norm_and_bias: bool
    l1: float
    dropout: float
    batch_size: int
    clip_norm: float | None
    label_smoothing: float
    patience_epochs: int | None
    augmentation: Augmentation
    erasing: float
    mixing: Mixing
    adversarial: Attack
    trained: str
    layer_decay: float
    l2_sp: float
    head_init: Literal["random", "probe"]
    feature_selection: FeatureSelection
    class_balance: ClassBalance
    ema_decay: float | None
    norm_momentum: float | None
    adaptation: Adaptation
    source_task_weight: float

    @classmethod
    def from_params(
        cls, params: Mapping[str, Any], *, init: Literal["pretrained", "random"]
    ) -> "Strategy":
        """Build from flat parameters: `lr`, `optimizer`, `optimizer.sgd.momentum`, …"""
        flat = {k: v for k, v in params.items() if "." not in k}
        for field, kinds in CHOICES.items():
            name = flat[field]
            prefix = f"{field}.{name}."
            flat[field] = kinds[name](
                **{k.removeprefix(prefix): v for k, v in params.items() if k.startswith(prefix)}
            )
        return cls(init=init, **flat)


# Choices of how pretrained features are selected and how classes are balanced, as dimensions.


Features = Annotated[
    Dimension,
    IntDim(ge=1),
    Field(description="features that the head sees", examples=[64]),
]


class NoSelectionSpace(Section):
    """The head sees every feature."""


class Chi2Space(Section):
    """The k features, none of them negative, whose sums depend most on the class (χ² test)."""

    k: Features


class AnovaSpace(Section):
    """The k features whose means differ most between classes, against their spread (F test)."""

    k: Features


class NoBalanceSpace(Section):
    """Every image counts alike, or by its own weight."""


class LossBalanceSpace(Section):
    """Classes weighted in the loss: with beta 1 inverse to their frequency, with 0 alike."""

    beta: Annotated[
        Dimension,
        FloatDim(ge=0, le=1),
        Field(description="of the effective number of images, arXiv:1901.05555"),
    ] = Fixed(1.0)


class SamplingBalanceSpace(Section):
    """Epochs of the same length in which every class is drawn equally often."""


SELECTION_SPACES: Kinds = {"none": NoSelectionSpace, "chi2": Chi2Space, "anova": AnovaSpace}
BALANCE_SPACES: Kinds = {
    "none": NoBalanceSpace,
    "loss": LossBalanceSpace,
    "sampling": SamplingBalanceSpace,
}
