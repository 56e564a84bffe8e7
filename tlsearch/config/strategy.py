"""A strategy: one point of the search space, complete and picklable.

Each field is declared once, here, with its default and the range of its values; the search space
is derived from it. Fields that are choices with parameters of their own are registered in CHOICES.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from tlsearch.config.augmentation import (
    ADAPTATIONS,
    ATTACKS,
    AUGMENTATIONS,
    MIXINGS,
    Adaptation,
    Attack,
    Augmentation,
    Mixing,
    NoAdaptation,
    NoAttack,
    NoAugmentation,
    NoMixing,
)
from tlsearch.config.optimization import (
    OPTIMIZERS,
    SCHEDULES,
    CosineDecay,
    Optimizer,
    Schedule,
    Sgd,
)
from tlsearch.config.validation import Decay, Fraction, wrong

NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]
Features = Annotated[int, Field(ge=1, description="features that the head sees", examples=[64])]

ALL, NORMS = "all", "norms"
"""Values of `trained` that name no groups: everything; normalisation layers."""


def read_groups(text: str) -> str:
    """`all`, `norms`, or layer groups joined by +, without spaces; whether a backbone has them is
    known to the study's checks alone.
    """
    names = text.replace(" ", "").split("+")
    for i, name in enumerate(names):
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
            rule = "must be all, norms or layer groups joined by +"
            raise wrong(rule, "write one such as layer1+layer2")
        if name in names[:i]:
            raise wrong(f"names {name} twice", "drop one of them")
        if name in (ALL, NORMS) and len(names) > 1:
            raise wrong(f"{name} goes with no other name", f"write {name} alone, or groups alone")
    return "+".join(names)


@dataclass(frozen=True, kw_only=True)
class AllFeatures:
    """The head sees every feature."""


@dataclass(frozen=True, kw_only=True)
class Chi2:
    """The k features, none of them negative, whose sums depend most on the class (χ² test)."""

    k: Features


@dataclass(frozen=True, kw_only=True)
class Anova:
    """The k features whose means differ most between classes, against their spread (F test)."""

    k: Features


@dataclass(frozen=True, kw_only=True)
class NoBalance:
    """Every image counts alike, or by its own weight."""


@dataclass(frozen=True, kw_only=True)
class LossBalance:
    """Classes count in the loss by (1 - beta) / (1 - beta^n), n their number of images: with beta
    1, the limit, inverse to their frequency, with 0 alike (arXiv:1901.05555).
    """

    beta: Annotated[
        float,
        Field(ge=0, le=1, description="of the effective number of images, arXiv:1901.05555"),
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class SamplingBalance:
    """Epochs of the same length in which every class is drawn equally often."""


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
CHOICES: Mapping[str, Mapping[str, type[Any]]] = {
    "schedule": SCHEDULES,
    "optimizer": OPTIMIZERS,
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

    Warm-up is given in epochs, in steps or as a share of all steps, in one way alone, and starts at
    `warmup_start_fraction` of the rate. Of a training image `augmentation` makes a view, a box of
    which is erased with probability `erasing`; `mixing` joins two, and `adversarial` attacks the
    outcome. `source_task_weight` is that of the source task's loss, learnt beside the target's on a
    second head.
    """

    init: Literal["pretrained", "random"]
    freeze_depth: Annotated[Count, Field(description="layer groups frozen from the input")] = 0
    unfreeze_every_epochs: Annotated[
        Count, Field(description="gradual unfreezing: open one more group after so many; 0 never")
    ] = 0
    lr: Annotated[float, Field(gt=0, description="the head's learning rate")] = 0.01
    lr_ratio: Annotated[
        Decay, Field(description="factor on the rate per layer group towards the input")
    ] = 1.0
    schedule: Schedule = CosineDecay()  # noqa: RUF009 (frozen)
    warmup_epochs: Count = 0
    warmup_steps: Count = 0
    warmup_fraction: Annotated[Fraction, Field(description="of the training's steps")] = 0.0
    warmup_start_fraction: Fraction = 0.0
    optimizer: Optimizer = Sgd()  # noqa: RUF009 (frozen)
    weight_decay: NotNegative = 0.0
    decay_norm_and_bias: bool = False
    l1: NotNegative = 0.0
    dropout: Fraction = 0.0
    # Two at the least: BatchNorm has no variance of one image.
    batch_size: Annotated[int, Field(ge=2)] = 32
    clip_norm: Annotated[
        float | None, Field(gt=0, description="bound on the gradient's norm; null for none")
    ] = None
    label_smoothing: Fraction = 0.0
    patience_epochs: Annotated[
        int | None,
        Field(
            ge=1,
            description="stop early after so many epochs without gain, with the best epoch's "
            "weights; null for never. The search compares last epochs either way",
        ),
    ] = None
    augmentation: Augmentation = NoAugmentation()  # noqa: RUF009 (frozen)
    erasing: Annotated[
        float,
        Field(ge=0, le=1, description="probability that a box of a training image is blotted out"),
    ] = 0.0
    mixing: Mixing = NoMixing()  # noqa: RUF009 (frozen)
    adversarial: Attack = NoAttack()  # noqa: RUF009 (frozen)
    trained: Annotated[
        str,
        Field(description="all, norms, or the layer groups that train beside the head: layer1+…"),
        AfterValidator(read_groups),
    ] = ALL
    layer_decay: Annotated[
        Decay, Field(description="factor on the rate per layer or block towards the input")
    ] = 1.0
    l2_sp: Annotated[
        NotNegative, Field(description="pull of the body towards its pretrained weights")
    ] = 0.0
    head_init: Annotated[
        Literal["random", "probe"],
        Field(description="probe: the head starts as a linear probe of the frozen features"),
    ] = "random"
    feature_selection: FeatureSelection = AllFeatures()
    class_balance: ClassBalance = NoBalance()
    ema_decay: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="of the moving average of the weights that is kept; null for none",
        ),
    ] = None
    norm_momentum: Annotated[
        float | None,
        Field(
            gt=0,
            le=1,
            description="share of a new batch in BatchNorm's running statistics; null for the "
            "network's own",
        ),
    ] = None
    norm_statistics: Annotated[
        Literal["batch", "pretrained"],
        Field(
            description="by which BatchNorm of open groups normalises in training: each batch's, "
            "or those that it was pretrained with, which then rest"
        ),
    ] = "batch"
    adaptation: Annotated[
        Adaptation, Field(description="training images are taken towards those of the source")
    ] = NoAdaptation()  # noqa: RUF009 (frozen)
    source_task_weight: Annotated[
        NotNegative,
        Field(description="of the source task's loss beside the target's, on a second head; 0 off"),
    ] = 0.0

    @property
    def changes_images(self) -> bool:
        """Whether the network sees anything but the stored images in training."""
        chosen: set[object] = {self.augmentation, self.mixing, self.adversarial, self.adaptation}
        plain = chosen <= {NoAugmentation(), NoMixing(), NoAttack(), NoAdaptation()}
        return not plain or self.erasing > 0

    def trains_head_alone(self, num_groups: int) -> bool:
        """Whether of a network's layer groups only the head trains, from first to last, on the
        images as they are stored, and no source task beside: such trainings can be stacked.
        """
        return (
            (self.freeze_depth, self.trained) == (num_groups - 1, ALL)
            and not self.unfreeze_every_epochs
            and not self.changes_images
            and not self.source_task_weight
        )

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


HEAD_FIELDS = frozenset(
    {
        "freeze_depth",
        "trained",
        "unfreeze_every_epochs",
        "augmentation",
        "erasing",
        "mixing",
        "adversarial",
        "adaptation",
        "source_task_weight",
    }
)
"""Those that, with the network, decide whether a strategy `trains_head_alone`."""
