"""Parts of a strategy: which features the head sees, and how classes are balanced."""

from collections.abc import Mapping
from dataclasses import dataclass


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
