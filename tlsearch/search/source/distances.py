"""How far target images are from the source's, in the features of a network."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch import Tensor

from tlsearch.evidence.measures.discrepancy import domain_error, proxy_a_distance
from tlsearch.evidence.measures.frechet import frechet_distance
from tlsearch.evidence.measures.protocol import DOMAIN_FOLDS, DOMAIN_IMAGES
from tlsearch.search.source.task import SourceTask, features_of, pooled_features
from tlsearch.training.augmentation.stages import Stage
from tlsearch.training.batches import Pixels, normalised, unit_batch
from tlsearch.training.forward import EVAL_BATCH_SIZE
from tlsearch.transfer.backbones import Backbone

SEED = 0
"""Of the folds of the classifier; the same for every training."""


def domain_distance(
    backbone: Backbone, task: SourceTask, pixels: Pixels, rows: np.ndarray
) -> dict[str, float]:
    """Distance of target images, at most `DOMAIN_IMAGES` of `rows` of `pixels`, from the source's
    held-out ones in the features before the head: `domain_distance` and `.error` are those of
    `Apart`, `.proxy_a` the proxy A-distance of the error.
    """
    target = pooled_features(backbone, pixels, evenly(rows))[-1]
    found = apart(_source_features(backbone, task), target)
    return {
        "domain_distance": found.distance,
        "domain_distance.error": found.error,
        "domain_distance.proxy_a": proxy_a_distance(found.error),
    }


class Apart(NamedTuple):
    """How far two sets of features lie apart: Fréchet's `distance` per feature, each taken in
    standard deviations of both sets together, so that no network's scale matters, and the `error`,
    0 … 0.5, of a classifier that tells them apart.
    """

    distance: float
    error: float


def apart(source: np.ndarray, target: np.ndarray) -> Apart:
    """Of features (images, width) of either domain; not a number with fewer than `DOMAIN_FOLDS`
    images of one.
    """
    if min(len(source), len(target)) < DOMAIN_FOLDS:
        return Apart(math.nan, math.nan)
    distance = _scaled(source, target, by=np.concatenate([source, target]))
    return Apart(distance, domain_error(source, target, seed=SEED))


def adapted_distance(
    pretrained: Backbone, task: SourceTask, pixels: Pixels, rows: np.ndarray, stage: Stage | None
) -> dict[str, float]:
    """What an adaptation does to the distance, in the features of the pretrained network:
    `.before` of the images as they are and `.after` of adapted ones, in standard deviations of the
    source and the images as they are, and `adapted_distance`, after over before. Without a stage
    that is 1.
    """
    source, some = _source_features(pretrained, task), evenly(rows)
    plain = pooled_features(pretrained, pixels, some)[-1]
    if min(len(source), len(plain)) < 2:
        before = after = math.nan
    else:
        scale = np.concatenate([source, plain])
        before = after = _scaled(source, plain, by=scale)
        if stage is not None:
            batches = _adapted(pretrained, pixels, some, stage)
            after = _scaled(source, features_of(pretrained, batches)[-1], by=scale)
    ratio = after / before if before else math.nan
    return {
        "adapted_distance": ratio,
        "adapted_distance.before": before,
        "adapted_distance.after": after,
    }


def evenly(rows: np.ndarray) -> np.ndarray:
    """At most `DOMAIN_IMAGES` of the rows, evenly over them: their order may be one of classes."""
    places = np.linspace(0, len(rows) - 1, min(len(rows), DOMAIN_IMAGES))
    found: np.ndarray = rows[places.round().astype(int)]
    return found


def _source_features(backbone: Backbone, task: SourceTask) -> np.ndarray:
    pixels, rows = task.held_out
    return pooled_features(backbone, pixels, evenly(rows))[-1]


def _adapted(
    backbone: Backbone, pixels: Pixels, rows: np.ndarray, stage: Stage
) -> Iterator[Tensor]:
    device = backbone.head.weight.device
    for i in range(0, len(rows), EVAL_BATCH_SIZE):
        part = rows[i : i + EVAL_BATCH_SIZE]
        # As the first epoch has them.
        yield normalised(stage(unit_batch(pixels, part, device=device), part, epoch=1), pixels)


def _scaled(source: np.ndarray, target: np.ndarray, *, by: np.ndarray) -> float:
    """Fréchet distance per feature, each in standard deviations of the rows of `by`; features that
    are constant there tell nothing.
    """
    deviation = by.astype(float).std(axis=0)
    alive = deviation > 0
    if not alive.any():
        return math.nan
    sides = [side[:, alive] / deviation[alive] for side in (source, target)]
    return frechet_distance(*sides) / int(alive.sum())
