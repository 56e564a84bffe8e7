"""What a study makes of its own training images, epoch by epoch: augmentation, adaptation."""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.data.images import ImageSet
from tlsearch.data.reading import read_images
from tlsearch.data.source_images import read_source
from tlsearch.data.splits.draw import draw_splits
from tlsearch.errors import RequestError
from tlsearch.search.source.data import SourceData, glyph_source, own_source
from tlsearch.search.work.preparing import find_device, find_weights
from tlsearch.study.adaptation import NoAdaptation, Style
from tlsearch.study.cells import cell_config, cells, compared
from tlsearch.study.config import StudyConfig
from tlsearch.study.seeds import derive_seed
from tlsearch.study.strategy import Strategy
from tlsearch.study.strongest import Policy, policies
from tlsearch.training.adaptation.gram import StyleNetwork
from tlsearch.training.adaptation.styled import Atelier, InStyle
from tlsearch.training.adaptation.towards import stage_of
from tlsearch.training.augmentation.stages import Stage
from tlsearch.training.augmentation.views import Views
from tlsearch.training.batches import Pixels
from tlsearch.training.forward import Forward
from tlsearch.training.precision import FP32
from tlsearch.transfer.backbones import Backbone, build_backbone, load_pretrained, normalisation
from tlsearch.transfer.weights import pretrained_state

NUM_IMAGES, NUM_EPOCHS = 4, 7
_ASKING = ("fgsm", "pgd", "style")
"""They ask the pretrained network; all others do without."""

OnProgress = Callable[[float, str], None]


class Shown(NamedTuple):
    """One augmentation; `images` uint8 (N, 1 + epochs, H, W, 3): each training image as it is, then
    its view in the first epochs.
    """

    title: str
    detail: str
    images: np.ndarray


def views_of(config: StudyConfig, *, cache: Path, on_progress: OnProgress) -> list[Shown]:
    """Every augmentation and adaptation of the space, or of the arms' in the first scenario.

    The views are those of the study's trials: they follow from its seed, the epoch and the image.
    Only partners in a mixture depend on the batch, here the images that are shown; and an attack is
    on the network before training, its head at random, and on every image.

    Raises:
        RequestError: no augmentation is to choose, or images or weights do not fit the study.
        WorkError: something cannot be read, written or fetched.
    """
    wanted = list(_wanted(config))
    if not wanted:
        raise RequestError(
            "space: nothing in it changes training images — set space.augmentation, erasing, "
            "mixing, adversarial or adaptation, such as "
            "--set 'space.augmentation=[none, basic, trivial]'"
        )
    torch.set_num_threads(1)
    ours = wanted[0][0]
    data, _ = read_images(ours.data, cache=cache / "images", on_progress=on_progress)
    rows = _rows(data, ours)
    makers: dict[str, _Maker] = {}
    shown = []
    for i, (of, policy, arm) in enumerate(wanted):
        on_progress(i / len(wanted), f"drawing {policy.title}")
        is_asked = policy.title in _ASKING
        key = of.backbone.model_dump_json() + str(is_asked)
        if key not in makers:
            makers[key] = _Maker(of, data, is_asked, cache, on_progress)
        detail = "; ".join(filter(None, (policy.detail, arm and f"arm {arm}")))
        shown.append(Shown(policy.title, detail, makers[key].images(policy, rows)))
    return shown


def _wanted(config: StudyConfig) -> Iterator[tuple[StudyConfig, Policy, str]]:
    """Studies, policies and arms that have them; what several arms share comes once."""
    if config.comparison is None:
        first_network = config.with_backbone(config.backbone.names[0])
        for policy in policies(config.space):
            yield first_network, policy, ""
        return
    first, known = compared(config).used[0], set()
    for cell in cells(compared(config)):
        ours = cell_config(config, cell)
        ours = ours.with_backbone(ours.backbone.names[0])
        for policy in policies(ours.space) if cell.scenario == first else ():
            if policy[:2] not in known:
                known.add(policy[:2])
                yield ours, policy, cell.arm


def _rows(data: ImageSet, config: StudyConfig) -> np.ndarray:
    """A training image of each of the first classes, or more of them where there are few."""
    split, labels = config.data.split, config.data.labels_per_class
    train = draw_splits(data, split=split, labels_per_class=labels, redraw=0)[0].train
    _, first = np.unique(data.labels[train], return_index=True)
    others = np.setdiff1d(np.arange(len(train)), first)
    return np.sort(train[np.concatenate([first, others])[:NUM_IMAGES]])


class _Maker:
    """Makes views for one backbone; its weights are looked for only where it `is_asked`."""

    def __init__(
        self,
        config: StudyConfig,
        data: ImageSet,
        is_asked: bool,
        cache: Path,
        on_progress: OnProgress,
    ) -> None:
        mean, std = normalisation(config.backbone.name)
        self._config, self._num_classes = config, data.num_classes
        self._cache, self._on_progress = cache, on_progress
        self._pixels = Pixels(images=data.images, labels=data.labels, mean=mean, std=std)
        self._device = find_device(config, None)
        self._forward = Forward(
            _network(config, data.num_classes, is_asked, cache, on_progress),
            pixels=self._pixels,
            activations=None,
            numerics=FP32,
            device=self._device,
        )

    def images(self, policy: Policy, rows: np.ndarray) -> np.ndarray:
        """Images and views (N, 1 + epochs, H, W, 3), bytes."""
        everywhere = {n: 1.0 for n in policy.params if n.endswith(f"{policy.title}.share")}
        strategy = Strategy.from_params({**policy.params, **everywhere}, init="pretrained")
        return training_views(
            self._forward,
            strategy,
            rows,
            adaptation=self._adaptation(strategy, rows),
            num_classes=self._num_classes,
            seed=self._config.search.seed,
            num_epochs=NUM_EPOCHS,
        )

    def _adaptation(self, strategy: Strategy, rows: np.ndarray) -> Stage | None:
        chosen, seed = strategy.adaptation, self._config.search.seed
        if isinstance(chosen, NoAdaptation):
            return None
        source, among = self._source.train
        if not isinstance(chosen, Style):
            return stage_of(chosen, source=source, among=among, seed=seed)
        with TemporaryDirectory() as folder:  # a few images, made in a moment: not worth keeping
            atelier = Atelier(
                folder=Path(folder),
                pixels=self._pixels,
                source=source,
                among=among,
                network=lambda: StyleNetwork(
                    self._forward.backbone, layers=chosen.layers, pixels=self._pixels
                ),
                keys=(),
                seed=seed,
                device=self._device,
                on_progress=self._on_progress,
            )
            return InStyle(atelier, rows=rows, strength=chosen.strength)

    @cached_property
    def _source(self) -> SourceData:
        config = self._config
        own = read_source(config, cache=self._cache / "images", on_progress=self._on_progress)
        if own is not None:
            return own_source(own[0], backbone=config.backbone.name)
        return glyph_source(backbone=config.backbone.name, image_size=config.data.size)


def training_views(
    forward: Forward,
    strategy: Strategy,
    rows: np.ndarray,
    *,
    adaptation: Stage | None,
    num_classes: int,
    seed: int,
    num_epochs: int,
) -> np.ndarray:
    """Images of these rows as they are, then what the strategy makes of them in its first epochs:
    bytes (N, 1 + epochs, H, W, 3), or (N, 1, H, W, 3) where it leaves them alone.
    """
    views = Views(
        forward, strategy=strategy, adaptation=adaptation, num_classes=num_classes, seed=seed
    )
    columns = [forward.unit_images(rows)]
    if not views.is_plain:
        columns += [views.images(rows, rows, epoch=e)[0] for e in range(1, num_epochs + 1)]
    return np.stack([_bytes(column) for column in columns], axis=1)


def _network(
    config: StudyConfig, num_classes: int, is_asked: bool, cache: Path, on_progress: OnProgress
) -> Backbone:
    backbone = build_backbone(
        name=config.backbone.name,
        num_classes=num_classes,
        image_size=config.data.size,
        dropout=0.0,
        seed=derive_seed(config.search.seed, "init"),
    )
    if is_asked:
        weights, _ = find_weights(config, cache=cache, threads=1, on_progress=on_progress)
        state = pretrained_state(backbone=config.backbone.name, weights=weights)
        if state is not None:
            load_pretrained(backbone, state)
    return backbone


def _bytes(images: Tensor) -> np.ndarray:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    found: np.ndarray = pixels.cpu().numpy()
    return found
