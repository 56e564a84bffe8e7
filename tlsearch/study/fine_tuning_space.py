"""Choices of how pretrained features are selected and how classes are balanced, as dimensions."""

from typing import Annotated

from pydantic import Field

from tlsearch.study.annotations import FloatDim, IntDim
from tlsearch.study.branches import Kinds
from tlsearch.study.complaints import Section
from tlsearch.study.dimensions import Dimension, Fixed

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
