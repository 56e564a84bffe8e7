"""How far target images are from the source's, in the features of a network."""

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.config.augmentation import Style
from tlsearch.config.progress import OnProgress
from tlsearch.config.seeds import derive_seed
from tlsearch.config.strategy import Strategy
from tlsearch.execution.messages import Setting
from tlsearch.execution.source_data import (
    SourceData,
    SourceTask,
    features_of,
    glyph_probe_file,
    own_probe_file,
    pooled_features,
    source_data,
)
from tlsearch.metrics.domain import domain_error, frechet_distance, proxy_a_distance
from tlsearch.metrics.protocol import DOMAIN_FOLDS, DOMAIN_IMAGES
from tlsearch.models.backbones import Backbone, Head
from tlsearch.training.augmentation import Stage
from tlsearch.training.batches import Pixels, normalised, unit_batch
from tlsearch.training.domain_adaptation import stage_of
from tlsearch.training.feature_cache import EVAL_BATCH_SIZE, ActivationStore
from tlsearch.training.multi_task import SecondTask
from tlsearch.training.precision import Numerics
from tlsearch.training.style_transfer import StyledImages, StyleNetwork, StyleStage

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


# What a worker builds from images of the source: adaptation, a second task, what it measures.


class SourceBench:
    """The source's images for trainings of one setting; `pixels` are the target's, `pretrained`
    builds the network before training.
    """

    def __init__(
        self,
        setting: Setting,
        *,
        pixels: Pixels,
        pretrained: Callable[[], Backbone],
        numerics: Numerics,
        device: torch.device,
        on_progress: OnProgress,
    ) -> None:
        self._setting, self._pixels, self._pretrained = setting, pixels, pretrained
        self._numerics, self._device, self._on_progress = numerics, device, on_progress
        self._data = source_data(setting)

    @property
    def is_known(self) -> bool:
        """Whether there are any images of the source."""
        return self._data is not None

    @cached_property
    def task(self) -> SourceTask:
        """The source's task as the pretrained network knows it."""
        setting, data = self._setting, self._known
        place = (
            glyph_probe_file(Path(setting.weights))
            if setting.source is None
            else own_probe_file(
                setting.activations.parent / "probes",
                weights_key=f"{setting.config.backbone.name} {setting.weights_fingerprint}",
                data=data,
            )
        )
        return SourceTask(self._pretrained(), data=data, kept_as=place)

    def adaptation(self, strategy: Strategy, *, rows: np.ndarray, seed: int) -> Stage | None:
        """The stage that takes a training part, `rows`, towards the source; None for none.

        Raises:
            WorkError: images in another style cannot be written.
        """
        chosen = strategy.adaptation
        if isinstance(chosen, Style):
            if not chosen.strength:
                return None
            return StyleStage(self._styled_images(chosen), rows=rows, strength=chosen.strength)
        if self._data is None:
            return None
        source, among = self._data.train
        return stage_of(chosen, source=source, among=among, seed=seed)

    def second_task(
        self, strategy: Strategy, backbone: Backbone, *, seed: int
    ) -> SecondTask | None:
        """The source's task beside the target's; None where it has no weight."""
        if not strategy.source_task_weight:
            return None
        pixels, rows = self._known.train
        key = self._known.key
        return SecondTask(
            backbone,
            head=self._head(strategy, seed),
            pixels=pixels,
            rows=rows,
            key=key,
            weight=strategy.source_task_weight,
            activations=ActivationStore(
                self._setting.activations, pixels=pixels, data_key=key, numerics=self._numerics
            ),
            numerics=self._numerics,
            device=self._device,
            seed=seed,
        )

    def _head(self, strategy: Strategy, seed: int) -> Head:
        if strategy.init == "pretrained":
            return self.task.head()
        width, classes = self._pretrained().head.in_features, self._known.num_classes
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derive_seed(seed, "source head"))
            return Head(width, classes, dropout=0.0, device="cpu")

    def _styled_images(self, chosen: Style) -> StyledImages:
        setting = self._setting
        source, among = self._known.train
        name = setting.config.backbone.name
        keys = (setting.activations_key, self._known.key, setting.weights_fingerprint, name)

        def network() -> StyleNetwork:
            return StyleNetwork(self._pretrained(), layers=chosen.layers, pixels=self._pixels)

        return StyledImages(
            folder=setting.activations.parent / "styled",
            pixels=self._pixels,
            source=source,
            among=among,
            network=network,
            keys=(*keys, str(chosen.layers), self._device.type),
            # The study's own, so that its trials and redraws see the same pictures.
            seed=setting.config.search.seed,
            device=self._device,
            on_progress=self._on_progress,
        )

    @property
    def _known(self) -> SourceData:
        assert self._data is not None, "a study without source images was refused before"
        return self._data
