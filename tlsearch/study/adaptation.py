"""Domain-adaptive augmentation: how training images are made to look like those of the source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tlsearch.study.annotations import FloatDim, IntDim
from tlsearch.study.branches import Kinds
from tlsearch.study.complaints import Section
from tlsearch.study.dimensions import Dimension, Fixed

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
