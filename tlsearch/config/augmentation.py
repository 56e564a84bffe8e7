"""Augmentation in a study and in a strategy: choices of the space, and one point of each."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from tlsearch.config.choices import Kinds
from tlsearch.config.dimensions import Dimension, Fixed, FloatDim, IntDim, Scalar
from tlsearch.config.validation import Complaint, Loc, Section


class PixelShareDim(FloatDim):
    """Annotation of a change of pixels as a share of their range; papers write it in 255ths."""

    def _scalar(self, value: object, loc: Loc, found: list[Complaint]) -> Scalar:
        before = len(found)
        number = super()._scalar(value, loc, found)
        if len(found) > before:
            remedy = f"a share of the pixel range 0 … 1: {_in_255ths(value)}"
            found[-1] = found[-1]._replace(remedy=remedy)
        return number


def _in_255ths(value: object) -> str:
    """What to write for a change in grey levels, or for a fraction that YAML takes for text."""
    levels: object = value
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([\d.]+)\s*/\s*255\s*", value)):
        levels = float(match[1])
    if isinstance(levels, bool) or not isinstance(levels, int | float) or not 0 < levels <= 255:
        levels = 8
    return f"write {levels:g}/255 = {levels / 255:.2g}"


Probability = Annotated[Dimension, FloatDim(ge=0, le=1)]
Fraction = Annotated[Dimension, FloatDim(ge=0, lt=1)]
AttackSize = Annotated[
    Dimension,
    PixelShareDim(gt=0, le=1),
    Field(description="largest change of a pixel, as a share of the range 0 … 1"),
]
AttackedShare = Annotated[
    Dimension,
    FloatDim(gt=0, le=1),
    Field(description="part of each batch that is attacked; the rest stays clean"),
]


class NoAugmentationSpace(Section):
    """Images as they are."""


class BasicAugmentationSpace(Section):
    """Flips, moves, crops and colours. Strengths are guesses: mild ones, as photographs stand."""

    flip: Annotated[Probability, Field(description="probability of a left-right flip")] = Fixed(0.5)
    vertical_flip: Annotated[
        Probability, Field(description="probability of an upside-down flip")
    ] = Fixed(0.0)
    rotation: Annotated[
        Dimension, FloatDim(ge=0, le=180), Field(description="degrees, to either side")
    ] = Fixed(15.0)
    shift: Annotated[
        Fraction, Field(description="fraction of the side, along each axis, to either side")
    ] = Fixed(0.1)
    shear: Annotated[
        Dimension, FloatDim(ge=0, le=60), Field(description="degrees, to either side")
    ] = Fixed(0.0)
    zoom: Annotated[Fraction, Field(description="fraction, larger or smaller")] = Fixed(0.1)
    crop: Annotated[
        Dimension,
        FloatDim(gt=0, le=1),
        Field(description="smallest share of the area that a random resized crop keeps; 1 is off"),
    ] = Fixed(1.0)
    colour: Annotated[
        Probability, Field(description="strength of brightness, contrast, saturation and hue")
    ] = Fixed(0.2)


class TrivialAugmentSpace(Section):
    """TrivialAugment, wide: one transformation of random strength an image."""


class RandAugmentSpace(Section):
    """RandAugment; two transformations of magnitude 9 are the paper's choice for ResNet-50."""

    num_ops: Annotated[
        Dimension, IntDim(ge=1, le=10), Field(description="transformations, one after another")
    ] = Fixed(2)
    magnitude: Annotated[
        Dimension, IntDim(ge=0, le=30), Field(description="strength of each, of 30")
    ] = Fixed(9)


class NoMixingSpace(Section):
    """Every image by itself."""


class MixupSpace(Section):
    """Weighted means of two images and their labels; 0.2 is the paper's choice for ImageNet."""

    alpha: Annotated[
        Dimension, FloatDim(gt=0), Field(description="Beta(alpha, alpha); larger mixes evenly")
    ] = Fixed(0.2)


class CutMixSpace(Section):
    """A box of another image is pasted in, labels by area; 1 is the paper's choice."""

    alpha: Annotated[
        Dimension, FloatDim(gt=0), Field(description="Beta(alpha, alpha); larger mixes evenly")
    ] = Fixed(1.0)


class NoAttackSpace(Section):
    """Training images are not attacked."""


class FgsmSpace(Section):
    """Training images are attacked in one step; half a batch, as its authors do."""

    epsilon: AttackSize = Fixed(0.031)
    share: AttackedShare = Fixed(0.5)


class PgdSpace(Section):
    """Training images are attacked in many steps; seven are its authors' choice for CIFAR-10."""

    epsilon: AttackSize = Fixed(0.031)
    num_steps: Annotated[
        Dimension, IntDim(ge=1), Field(description="each costs most of a training step")
    ] = Fixed(7)
    share: AttackedShare = Fixed(0.5)


AUGMENTATION_SPACES: Kinds = {
    "none": NoAugmentationSpace,
    "basic": BasicAugmentationSpace,
    "trivial": TrivialAugmentSpace,
    "randaugment": RandAugmentSpace,
}
MIXING_SPACES: Kinds = {"none": NoMixingSpace, "mixup": MixupSpace, "cutmix": CutMixSpace}
ADVERSARIAL_SPACES: Kinds = {"none": NoAttackSpace, "fgsm": FgsmSpace, "pgd": PgdSpace}


@dataclass(frozen=True, kw_only=True)
class NoAugmentation:
    """Training images as they are."""


@dataclass(frozen=True, kw_only=True)
class BasicAugmentation:
    """Flips with these probabilities; then one warp of up to `rotation` and `shear` degrees,
    `shift` of the side, `zoom` either way, of a crop of at least `crop` of the area; then colours
    of strength `colour`. Magnitudes are drawn evenly, to both sides of doing nothing.
    """

    flip: float
    vertical_flip: float
    rotation: float
    shift: float
    shear: float
    zoom: float
    crop: float
    colour: float


@dataclass(frozen=True, kw_only=True)
class TrivialAugment:
    """One transformation of random strength an image, from the wide space (arXiv:2103.10158)."""


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """`num_ops` random transformations of one magnitude, 0 … 30 (arXiv:1909.13719)."""

    num_ops: int
    magnitude: int


@dataclass(frozen=True, kw_only=True)
class NoMixing:
    """No image is mixed with another."""


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Weighted means of two images, the weight from Beta(alpha, alpha) (arXiv:1710.09412)."""

    alpha: float


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """A box of another image, its area from Beta(alpha, alpha) (arXiv:1905.04899)."""

    alpha: float


@dataclass(frozen=True, kw_only=True)
class NoAttack:
    """No training image is attacked."""


@dataclass(frozen=True, kw_only=True)
class FgsmAttack:
    """One step of `epsilon` uphill on `share` of each batch (arXiv:1412.6572)."""

    epsilon: float
    share: float


@dataclass(frozen=True, kw_only=True)
class PgdAttack:
    """`num_steps` uphill within `epsilon`, on `share` of each batch (arXiv:1706.06083)."""

    epsilon: float
    num_steps: int
    share: float


Augmentation = NoAugmentation | BasicAugmentation | TrivialAugment | RandAugment
Mixing = NoMixing | Mixup | CutMix
Attack = NoAttack | FgsmAttack | PgdAttack

AUGMENTATIONS: Mapping[str, type[Augmentation]] = {
    "none": NoAugmentation,
    "basic": BasicAugmentation,
    "trivial": TrivialAugment,
    "randaugment": RandAugment,
}
MIXINGS: Mapping[str, type[Mixing]] = {"none": NoMixing, "mixup": Mixup, "cutmix": CutMix}
ATTACKS: Mapping[str, type[Attack]] = {"none": NoAttack, "fgsm": FgsmAttack, "pgd": PgdAttack}


def augmentations_of(params: Mapping[str, Any]) -> list[str]:
    """The names of those that change training images, in the order of application.

    `params` are flat and complete; any erasing is "erasing".
    """
    return [
        name
        for name in (
            params["augmentation"],
            "erasing" if params["erasing"] else "none",
            params["mixing"],
            params["adversarial"],
        )
        if name != "none"
    ]


# Domain-adaptive augmentation: how training images are made to look like those of the source.


_Share = Annotated[Dimension, FloatDim(ge=0, le=1)]
_Strength = Annotated[
    _Share, Field(description="0 leaves the image as it is, 1 goes all the way to the source's")
]


class NoAdaptationSpace(Section):
    """Images as they are."""


class FourierSpace(Section):
    """Amplitudes of low frequencies from a source image, phases from the target's: FDA
    (arXiv:2004.05498), whose beta is half of `band`; 0.1 is the middle of those that it tried.
    """

    band: Annotated[
        _Share, Field(description="share of the frequencies of each axis, from the lowest")
    ] = Fixed(0.1)
    strength: _Strength = Fixed(1.0)


class MomentsSpace(Section):
    """Each channel's mean and standard deviation from a source image: what AdaIN does to features
    (arXiv:1703.06868), done to pixels.
    """

    strength: _Strength = Fixed(1.0)


class StyleSpace(Section):
    """Style transfer by Gram matrices (arXiv:1508.06576) of the pretrained backbone's features;
    three groups of ResNet hold what is fine-grained. Made once, before training, and kept.
    """

    strength: _Strength = Fixed(1.0)
    layers: Annotated[
        Dimension,
        IntDim(ge=1),
        Field(description="layer groups from the input that tell the style"),
    ] = Fixed(3)


ADAPTATION_SPACES: Kinds = {
    "none": NoAdaptationSpace,
    "fourier": FourierSpace,
    "moments": MomentsSpace,
    "style": StyleSpace,
}


@dataclass(frozen=True, kw_only=True)
class NoAdaptation:
    """Images as they are."""


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """Low frequencies' amplitudes go to a source image's; `band` 0 … 1 of each axis."""

    band: float
    strength: float


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and standard deviation of each channel go to a source image's."""

    strength: float


@dataclass(frozen=True, kw_only=True)
class Style:
    """Gram matrices of the first `layers` groups go to a source image's; `strength` mixes the
    outcome with the image as it was.
    """

    strength: float
    layers: int


Adaptation = NoAdaptation | Fourier | Moments | Style

ADAPTATIONS: Mapping[str, type[Adaptation]] = {
    "none": NoAdaptation,
    "fourier": Fourier,
    "moments": Moments,
    "style": Style,
}


# Where a change of training images is written that was looked for under the wrong field.


IMAGE_CHANGES: Mapping[str, str] = {
    "basic": "write space.augmentation: basic",
    "trivial": "write space.augmentation: trivial",
    "randaugment": "write space.augmentation: randaugment",
    "flip": "a strength of basic: write space.augmentation: {basic: {flip: 0.5}}",
    "vertical_flip": "a strength of basic: write space.augmentation: {basic: {vertical_flip: 0.5}}",
    "rotation": "a strength of basic: write space.augmentation: {basic: {rotation: 15}}",
    "shift": "a strength of basic: write space.augmentation: {basic: {shift: 0.1}}",
    "shear": "a strength of basic: write space.augmentation: {basic: {shear: 10}}",
    "zoom": "a strength of basic: write space.augmentation: {basic: {zoom: 0.1}}",
    "crop": "a strength of basic: write space.augmentation: {basic: {crop: 0.7}}",
    "colour": "a strength of basic: write space.augmentation: {basic: {colour: 0.2}}",
    "erasing": "write space.erasing: 0.5",
    "mixup": "write space.mixing: mixup",
    "cutmix": "write space.mixing: cutmix",
    "fgsm": "write space.adversarial: fgsm",
    "pgd": "write space.adversarial: pgd",
    "fourier": "write space.adaptation: fourier",
    "moments": "write space.adaptation: moments",
    "style": "write space.adaptation: style",
}
"""What to write, by the name that somebody may know a change of images by."""
