"""Every measure that can be taken of a finished training: name → function of what it shows.

To add one: a function here or beside its kin, a line in `MEASURES`, and a test. What a training
shows is `Observed`; each value is computed when a measure reads it.
"""

# ruff: noqa: D102  - what each value is stands in `execution.measures.Trained`

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from tlsearch.metrics.curves import (
    early_gradient_norm,
    epochs_to_share,
    gradient_noise_scale,
    oscillation,
)
from tlsearch.metrics.domain import domain_error, proxy_a_distance, scaled_frechet_distance
from tlsearch.metrics.drift import linear_cka, relative_distance, sparsity, weight_norm

EARLY_SHARE = 0.1
"""Of all steps that were planned: where gradients may explode (claims.md, A4)."""
ACCURACY_SHARE = 0.95
"""Of the final accuracy, for the number of epochs to get there (A1)."""
NEAR_ZERO = 1e-3
"""Of the layer's largest weight: what counts as empty (C2)."""
DOMAIN_SEED = 0
"""Of the folds of the classifier that tells domains apart; the same for every training."""


class GradientNorms(NamedTuple):
    """Squared norms of gradients at the same weights: of batches of `small_size` images, and of one
    of `large_size`, infinite where it is of all images that there are.
    """

    small: np.ndarray
    large: np.ndarray
    small_size: int
    large_size: float


class DomainFeatures(NamedTuple):
    """Features (images, F) before the head: of the source's held-out images, of the target's
    validation images, and of these adapted; None where nothing adapts them.
    """

    source: np.ndarray
    target: np.ndarray
    adapted: np.ndarray | None


class Observed(Protocol):
    """What a finished training shows, value by value as `execution.measures.Trained` says.

    Lists by group are in the order of `groups`, all but the head from the input on; None stands for
    "there is none": of a network that started at random, or where no images of the source are at
    hand.
    """

    groups: Sequence[str]
    val_losses: np.ndarray
    val_accuracies: np.ndarray
    val_accuracy: float
    gradient_norms: np.ndarray
    planned_steps: int
    largest_step_norm: float
    seconds: float

    @property
    def train_accuracy(self) -> float: ...
    @property
    def images_per_second(self) -> float: ...
    @property
    def weights(self) -> Sequence[Sequence[np.ndarray]]: ...
    @property
    def pretrained_weights(self) -> Sequence[Sequence[np.ndarray]] | None: ...
    @property
    def penalised_weights(self) -> Sequence[np.ndarray]: ...
    @property
    def source_features(self) -> Sequence[np.ndarray] | None: ...
    @property
    def pretrained_source_features(self) -> Sequence[np.ndarray] | None: ...
    @property
    def source_accuracy(self) -> dict[str, float]: ...
    @property
    def domains(self) -> DomainFeatures | None: ...
    @property
    def pretrained_domains(self) -> DomainFeatures | None: ...
    @property
    def gradient_noise(self) -> GradientNorms: ...
    @property
    def attacked_accuracy(self) -> dict[str, float]: ...


def take_measures(names: Sequence[str], of: Observed) -> dict[str, float]:
    """The measures of these names and their parts, `NAME.PART`.

    Not a number: drifts of a network that started at random; `cka_drift`, `source_accuracy` and
    distances of domains where no images of the source are at hand; `oscillation` of a single epoch.
    """
    taken: dict[str, float] = {}
    for name in names:
        found = MEASURES[name](of)
        parts = {"": found} if isinstance(found, int | float) else found
        taken |= {f"{name}.{part}" if part else name: float(x) for part, x in parts.items()}
    return taken


Parts = Mapping[str, float]
"""Values by part; "" is the measure itself."""


def cka_drift(of: Observed) -> Parts:
    """1 - linear CKA with the pretrained features, of held-out source images, by group."""
    if of.source_features is None or of.pretrained_source_features is None:
        return _by_group(of, [math.nan] * len(of.groups))
    pairs = zip(of.pretrained_source_features, of.source_features, strict=True)
    # Equal features have a CKA of 1 but for rounding, and a constant one, too, has not moved.
    drifts = [0.0 if np.array_equal(*pair) else max(0.0, 1 - linear_cka(*pair)) for pair in pairs]
    return _by_group(of, drifts)


def weight_drift(of: Observed) -> Parts:
    """Relative distance from the pretrained parameters, by group."""
    if of.pretrained_weights is None:
        return _by_group(of, [math.nan] * len(of.groups))
    pairs = zip(of.weights, of.pretrained_weights, strict=True)
    return _by_group(of, [relative_distance(now, start) for now, start in pairs])


def _by_group(of: Observed, values: Sequence[float]) -> Parts:
    """A value a group, and the mean over the early half of the groups, rounded up."""
    early = float(np.mean(values[: math.ceil(len(values) / 2)]))
    return {"": early, **dict(zip(of.groups, values, strict=True))}


def domain_distance(of: Observed) -> Parts:
    """Fréchet's, between source and target, with a classifier's error and its proxy A-distance."""
    domains = of.domains
    if domains is None or min(len(domains.source), len(domains.target)) < 2:
        return {"": math.nan, "error": math.nan, "proxy_a": math.nan}
    error = domain_error(domains.source, domains.target, seed=DOMAIN_SEED)
    distance = scaled_frechet_distance(domains.source, domains.target)
    return {"": distance, "error": error, "proxy_a": proxy_a_distance(error)}


def adapted_distance(of: Observed) -> Parts:
    """Distance after adaptation over that before, in the pretrained network's features, both in
    standard deviations of the source and the images as they are; 1 where nothing adapts them.
    """
    domains = of.pretrained_domains
    if domains is None:
        return {"": math.nan, "before": math.nan, "after": math.nan}
    source, target, adapted = domains
    before = after = scaled_frechet_distance(source, target)
    if adapted is not None:
        scale = np.concatenate([source, target])
        after = scaled_frechet_distance(source, adapted, scale=scale)
    return {"": after / before if before else math.nan, "before": before, "after": after}


def noise_scale(of: Observed) -> float:
    """Of the gradient, in images, at the final weights."""
    norms = of.gradient_noise
    return gradient_noise_scale(
        norms.small, norms.large, small=norms.small_size, large=norms.large_size
    )


MEASURES: Mapping[str, Callable[[Observed], float | Parts]] = {
    "cka_drift": cka_drift,
    "weight_drift": weight_drift,
    "source_accuracy": lambda of: of.source_accuracy,
    "early_gradient_norm": lambda of: early_gradient_norm(
        of.gradient_norms, first=EARLY_SHARE, planned=of.planned_steps
    ),
    "largest_step_norm": lambda of: of.largest_step_norm,
    "oscillation": lambda of: oscillation(of.val_losses),
    "epochs_to_share": lambda of: epochs_to_share(of.val_accuracies, share=ACCURACY_SHARE),
    "epochs_spent": lambda of: len(of.val_losses),
    "generalisation_gap": lambda of: of.train_accuracy - of.val_accuracy,
    "sparsity": lambda of: sparsity(of.penalised_weights, below=NEAR_ZERO),
    "weight_norm": lambda of: weight_norm(of.penalised_weights),
    "images_per_second": lambda of: of.images_per_second,
    "seconds": lambda of: of.seconds,
    "noise_scale": noise_scale,
    "robust_accuracy": lambda of: of.attacked_accuracy,
    "domain_distance": domain_distance,
    "adapted_distance": adapted_distance,
}
