"""What a worker builds from images of the source: adaptation, a second task, what it measures."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from tlsearch.search.jobs import Setting
from tlsearch.search.source.data import SourceData, source_data
from tlsearch.search.source.task import SourceTask, glyph_probe_file, own_probe_file
from tlsearch.study.adaptation import Style
from tlsearch.study.seeds import derive_seed
from tlsearch.study.strategy import Strategy
from tlsearch.training.activations import ActivationStore
from tlsearch.training.adaptation.gram import StyleNetwork
from tlsearch.training.adaptation.styled import Atelier, InStyle, OnProgress
from tlsearch.training.adaptation.towards import stage_of
from tlsearch.training.augmentation.stages import Stage
from tlsearch.training.batches import Pixels
from tlsearch.training.precision import Numerics
from tlsearch.training.second_task import SecondTask
from tlsearch.transfer.backbones import Backbone, Head


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
            return InStyle(self._atelier(chosen), rows=rows, strength=chosen.strength)
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

    def _atelier(self, chosen: Style) -> Atelier:
        setting = self._setting
        source, among = self._known.train
        name = setting.config.backbone.name
        keys = (setting.activations_key, self._known.key, setting.weights_fingerprint, name)

        def network() -> StyleNetwork:
            return StyleNetwork(self._pretrained(), layers=chosen.layers, pixels=self._pixels)

        return Atelier(
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
