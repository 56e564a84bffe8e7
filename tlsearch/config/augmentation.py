"""Changes of training images: augmentation, mixing, attacks, adaptation; fields and ranges."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from tlsearch.config.validation import Fraction, Share, must


class Augmentation:
    """Base of the augmentations; `torchvision_name` is that of the transform in torchvision's `v2`
    that does it to one image after the other, whose arguments the fields are named as; empty where
    tlsearch does it to a batch.
    """

    torchvision_name: ClassVar[str] = ""


@dataclass(frozen=True, kw_only=True)
class NoAugmentation(Augmentation):
    """Training images as they are."""


@dataclass(frozen=True, kw_only=True)
class BasicAugmentation(Augmentation):
    """Flips, then one affine move and a random resized crop of at least `crop` of the area; then
    colours of strength `colour`. Magnitudes are drawn evenly, to both sides of doing nothing. The
    default strengths are guesses: mild ones, as photographs stand.
    """

    flip: Annotated[Share, Field(description="probability of a left-right flip")] = 0.5
    vertical_flip: Annotated[Share, Field(description="probability of an upside-down flip")] = 0.0
    rotation: Annotated[float, Field(ge=0, le=180, description="degrees, to either side")] = 15.0
    shift: Annotated[
        Fraction, Field(description="fraction of the side, along each axis, to either side")
    ] = 0.1
    shear: Annotated[float, Field(ge=0, le=60, description="degrees, to either side")] = 0.0
    zoom: Annotated[Fraction, Field(description="fraction, larger or smaller")] = 0.1
    crop: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="smallest share of the area that a random resized crop keeps; 1 is off",
        ),
    ] = 1.0
    colour: Annotated[
        Share, Field(description="strength of brightness, contrast, saturation and hue")
    ] = 0.2


@dataclass(frozen=True, kw_only=True)
class TrivialAugment(Augmentation):
    """One transformation of random strength an image, from the wide space (arXiv:2103.10158)."""

    torchvision_name: ClassVar[str] = "TrivialAugmentWide"


@dataclass(frozen=True, kw_only=True)
class RandAugment(Augmentation):
    """Random transformations of one magnitude (arXiv:1909.13719); two of magnitude 9 are the
    paper's choice for ResNet-50.
    """

    torchvision_name: ClassVar[str] = "RandAugment"
    num_ops: Annotated[
        int, Field(ge=1, le=10, description="transformations, one after another")
    ] = 2
    magnitude: Annotated[int, Field(ge=0, le=30, description="strength of each, of 30")] = 9


@dataclass(frozen=True, kw_only=True)
class NoMixing:
    """No image is mixed with another."""


_ALPHA = Field(gt=0, description="Beta(alpha, alpha); larger mixes evenly")


@dataclass(frozen=True, kw_only=True)
class Mixup:
    """Weighted means of two images and their labels, the weight from Beta(alpha, alpha)
    (arXiv:1710.09412); 0.2 is the paper's choice for ImageNet.
    """

    alpha: Annotated[float, _ALPHA] = 0.2


@dataclass(frozen=True, kw_only=True)
class CutMix:
    """A box of another image is pasted in, labels by area, the area from Beta(alpha, alpha)
    (arXiv:1905.04899); 1 is the paper's choice.
    """

    alpha: Annotated[float, _ALPHA] = 1.0


def _in_255ths(value: object) -> str:
    """What to write for a change in grey levels, which papers write in 255ths, or for a fraction
    that YAML takes for text.
    """
    levels: object = value
    if isinstance(value, str) and (match := re.fullmatch(r"\s*([\d.]+)\s*/\s*255\s*", value)):
        levels = float(match[1])
    if isinstance(levels, bool) or not isinstance(levels, int | float) or not 0 < levels <= 255:
        levels = 8
    return f"a share of the pixel range 0 … 1: write {levels:g}/255 = {levels / 255:.2g}"


AttackSize = Annotated[
    float,
    Field(gt=0, le=1, description="largest change of a pixel, as a share of the range 0 … 1"),
    must("must be a number above 0 and at most 1", _in_255ths),
]
AttackedShare = Annotated[
    float,
    Field(gt=0, le=1, description="part of each batch that is attacked; the rest stays clean"),
]


@dataclass(frozen=True, kw_only=True)
class NoAttack:
    """Training images are not attacked."""


@dataclass(frozen=True, kw_only=True)
class FgsmAttack:
    """One step of `epsilon` uphill on `share` of each batch (arXiv:1412.6572); half a batch, as its
    authors do.
    """

    epsilon: AttackSize = 0.031
    share: AttackedShare = 0.5


@dataclass(frozen=True, kw_only=True)
class PgdAttack:
    """Many steps uphill within `epsilon`, on `share` of each batch (arXiv:1706.06083); seven are
    its authors' choice for CIFAR-10.
    """

    epsilon: AttackSize = 0.031
    num_steps: Annotated[int, Field(ge=1, description="each costs most of a training step")] = 7
    share: AttackedShare = 0.5


# Domain-adaptive augmentation: training images are made to look like those of the source.

Strength = Annotated[
    Share, Field(description="0 leaves the image as it is, 1 goes all the way to the source's")
]


@dataclass(frozen=True, kw_only=True)
class NoAdaptation:
    """Images as they are."""


@dataclass(frozen=True, kw_only=True)
class Fourier:
    """Amplitudes of low frequencies from a source image, phases from the target's: FDA
    (arXiv:2004.05498), whose beta is half of `band`; 0.1 is the middle of those that it tried.
    """

    band: Annotated[
        Share, Field(description="share of the frequencies of each axis, from the lowest")
    ] = 0.1
    strength: Strength = 1.0


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Each channel's mean and standard deviation from a source image: what AdaIN does to features
    (arXiv:1703.06868), done to pixels.
    """

    strength: Strength = 1.0


@dataclass(frozen=True, kw_only=True)
class Style:
    """Style transfer by Gram matrices (arXiv:1508.06576) of the pretrained backbone's features;
    three groups of ResNet hold what is fine-grained. Made once, before training, and kept.
    """

    strength: Strength = 1.0
    layers: Annotated[
        int, Field(ge=1, description="layer groups from the input whose features make the style")
    ] = 3


Mixing = NoMixing | Mixup | CutMix
Attack = NoAttack | FgsmAttack | PgdAttack
Adaptation = NoAdaptation | Fourier | Moments | Style

AUGMENTATIONS: Mapping[str, type[Augmentation]] = {
    "none": NoAugmentation,
    "basic": BasicAugmentation,
    "trivial": TrivialAugment,
    "randaugment": RandAugment,
}
MIXINGS: Mapping[str, type[Mixing]] = {"none": NoMixing, "mixup": Mixup, "cutmix": CutMix}
ATTACKS: Mapping[str, type[Attack]] = {"none": NoAttack, "fgsm": FgsmAttack, "pgd": PgdAttack}
ADAPTATIONS: Mapping[str, type[Adaptation]] = {
    "none": NoAdaptation,
    "fourier": Fourier,
    "moments": Moments,
    "style": Style,
}


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


_FIELDS: Mapping[str, Mapping[str, type[Any]]] = {
    "augmentation": AUGMENTATIONS,
    "mixing": MIXINGS,
    "adversarial": ATTACKS,
    "adaptation": ADAPTATIONS,
}
_STRENGTHS = {
    "flip": 0.5,
    "vertical_flip": 0.5,
    "rotation": 15,
    "shift": 0.1,
    "shear": 10,
    "zoom": 0.1,
    "crop": 0.7,
    "colour": 0.2,
}
IMAGE_CHANGES: Mapping[str, str] = {
    "erasing": "write space.erasing: 0.5",
    **{
        name: f"write space.{field}: {name}"
        for field, kinds in _FIELDS.items()
        for name in kinds
        if name != "none"
    },
    **{
        name: f"a strength of basic: write space.augmentation: {{basic: {{{name}: {strength}}}}}"
        for name, strength in _STRENGTHS.items()
    },
}
"""What to write, by the name that somebody may know a change of images by."""
