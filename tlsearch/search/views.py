"""What a study's augmentations make of its own training images, epoch by epoch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.data.images import ImageSet
from tlsearch.data.reading import read_images
from tlsearch.data.splits.draw import draw_splits
from tlsearch.errors import RequestError
from tlsearch.search.preparing import find_device, find_weights
from tlsearch.study.cells import cell_config, cells, compared
from tlsearch.study.config import StudyConfig
from tlsearch.study.seeds import derive_seed
from tlsearch.study.strategy import Strategy
from tlsearch.study.strongest import Policy, policies
from tlsearch.training.augmentation.views import Views
from tlsearch.training.batches import Pixels
from tlsearch.training.forward import Forward
from tlsearch.training.precision import FP32
from tlsearch.transfer.backbones import Backbone, build_backbone, load_pretrained, normalisation
from tlsearch.transfer.weights import pretrained_state

NUM_IMAGES, NUM_EPOCHS = 4, 7

OnProgress = Callable[[float, str], None]


class Shown(NamedTuple):
    """One augmentation; `images` uint8 (N, 1 + epochs, H, W, 3): each training image as it is, then
    its view in the first epochs.
    """

    title: str
    detail: str
    images: np.ndarray


def views_of(config: StudyConfig, *, cache: Path, on_progress: OnProgress) -> list[Shown]:
    """Every augmentation of the study's space, or of its arms' in the first scenario.

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
            "mixing or adversarial, such as --set 'space.augmentation=[none, basic, trivial]'"
        )
    torch.set_num_threads(1)
    ours = wanted[0][0]
    data, _ = read_images(ours.data, cache=cache / "images", on_progress=on_progress)
    rows = _rows(data, ours)
    makers: dict[str, _Maker] = {}
    shown = []
    for i, (of, policy, arm) in enumerate(wanted):
        on_progress(i / len(wanted), f"drawing {policy.title}")
        key = of.backbone.model_dump_json() + str(policy.title in ("fgsm", "pgd"))
        if key not in makers:
            is_attacked = policy.title in ("fgsm", "pgd")
            makers[key] = _Maker(of, data, is_attacked, cache, on_progress)
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
    """Makes views for one backbone; its weights are looked for only where it is attacked."""

    def __init__(
        self,
        config: StudyConfig,
        data: ImageSet,
        is_attacked: bool,
        cache: Path,
        on_progress: OnProgress,
    ) -> None:
        mean, std = normalisation(config.backbone.name)
        self._config, self._num_classes = config, data.num_classes
        self._forward = Forward(
            _network(config, data.num_classes, is_attacked, cache, on_progress),
            pixels=Pixels(images=data.images, labels=data.labels, mean=mean, std=std),
            activations=None,
            numerics=FP32,
            device=find_device(config, None),
        )

    def images(self, policy: Policy, rows: np.ndarray) -> np.ndarray:
        """Images and views (N, 1 + epochs, H, W, 3), bytes."""
        everywhere = {n: 1.0 for n in policy.params if n.endswith(f"{policy.title}.share")}
        strategy = Strategy.from_params({**policy.params, **everywhere}, init="pretrained")
        return training_views(
            self._forward,
            strategy,
            rows,
            num_classes=self._num_classes,
            seed=self._config.search.seed,
            num_epochs=NUM_EPOCHS,
        )


def training_views(
    forward: Forward,
    strategy: Strategy,
    rows: np.ndarray,
    *,
    num_classes: int,
    seed: int,
    num_epochs: int,
) -> np.ndarray:
    """Images of these rows as they are, then what the strategy makes of them in its first epochs:
    bytes (N, 1 + epochs, H, W, 3), or (N, 1, H, W, 3) where it leaves them alone.

    Adaptation to the source's style is not shown.
    """
    views = Views(forward, strategy=strategy, adaptation=None, num_classes=num_classes, seed=seed)
    columns = [forward.unit_images(rows)]
    if not views.is_plain:
        columns += [views.images(rows, rows, epoch=e)[0] for e in range(1, num_epochs + 1)]
    return np.stack([_bytes(column) for column in columns], axis=1)


def _network(
    config: StudyConfig, num_classes: int, is_attacked: bool, cache: Path, on_progress: OnProgress
) -> Backbone:
    backbone = build_backbone(
        name=config.backbone.name,
        num_classes=num_classes,
        image_size=config.data.size,
        dropout=0.0,
        seed=derive_seed(config.search.seed, "init"),
    )
    if is_attacked:
        weights, _ = find_weights(config, cache=cache, threads=1, on_progress=on_progress)
        state = pretrained_state(backbone=config.backbone.name, weights=weights)
        if state is not None:
            load_pretrained(backbone, state)
    return backbone


def _bytes(images: Tensor) -> np.ndarray:
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    found: np.ndarray = pixels.cpu().numpy()
    return found
