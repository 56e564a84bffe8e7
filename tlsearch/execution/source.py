"""The task that weights were pretrained on: its images, and what a network still knows of it."""

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from tlsearch.config.augmentation import NoAdaptation, Style
from tlsearch.config.catalog import CATALOGUE
from tlsearch.config.paths import atomic_write
from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.config.schema import BackboneConfig
from tlsearch.config.strategy import Strategy
from tlsearch.data import dataset as store
from tlsearch.data.dataset import DAMAGE, ImageSet, read_arrays
from tlsearch.data.glyph_recipe import CHARACTERS, RECIPE
from tlsearch.data.synthetic.glyphs import draw_batches
from tlsearch.execution.messages import Setting
from tlsearch.metrics.linear_probe import INVERSE_PENALTY, LinearProbe, fit_probe
from tlsearch.models.backbones import Backbone, Head
from tlsearch.training.augmentation import Stage
from tlsearch.training.batches import Pixels, pixels_for
from tlsearch.training.domain_adaptation import stage_of
from tlsearch.training.feature_cache import features
from tlsearch.training.style_transfer import StyledImages, StyleNetwork, StyleStage

HELD_OUT_SHARE = 0.2
"""Of a study's own source images, class by class, up to `SOURCE_IMAGES` in all."""
SOURCE_IMAGES, PROBE_IMAGES = 1024, 4096
"""Held-out images of the source task, and images that its linear probe is fitted to."""


class SourcePart(NamedTuple):
    """Some `rows` of `pixels`."""

    pixels: Pixels
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class SourceData:
    """The source's images: those that may be trained on and, never shown to a training, others.
    Either is drawn or opened when it is asked for.

    For "glyphs" they are jittered characters: `train` in the fonts that the source model learnt,
    `held_out` in others. `key` tells the content apart.
    """

    make_train: Callable[[], SourcePart]
    make_held_out: Callable[[], SourcePart]
    num_classes: int
    key: str

    @cached_property
    def train(self) -> SourcePart:
        """Images for a second head, a probe, or to take others towards."""
        return self.make_train()

    @cached_property
    def held_out(self) -> SourcePart:
        """Images for measures alone."""
        return self.make_held_out()


def source_data(setting: Setting) -> SourceData | None:
    """The source images of a study; None where none are at hand."""
    config = setting.config
    if setting.source is not None:
        return own_source(store.load(setting.source), backbone=config.backbone)
    if config.backbone.weights == "glyphs":
        return glyph_source(backbone=config.backbone.name, image_size=config.data.size)
    return None


def glyph_source(*, backbone: str, image_size: int) -> SourceData:
    """The embedded source task: printed characters."""

    def drawn(faces: tuple[str, ...], count: int, purpose: str) -> Callable[[], SourcePart]:
        return partial(_characters, faces, backbone, count, image_size, purpose)

    return SourceData(
        make_train=drawn(RECIPE.faces, PROBE_IMAGES, "probe"),
        make_held_out=drawn(RECIPE.unseen_faces, SOURCE_IMAGES, "held out"),
        num_classes=len(CHARACTERS),
        key=f"glyphs {image_size} {RECIPE!r}",
    )


def own_source(data: ImageSet, *, backbone: BackboneConfig) -> SourceData:
    """A study's own source images, divided at random, the same way every time."""
    pixels = pixels_for(backbone, images=data.images, labels=data.labels)
    held_out = _held_out(data)
    train = np.setdiff1d(data.usable, held_out)
    return SourceData(
        make_train=lambda: SourcePart(pixels, train),
        make_held_out=lambda: SourcePart(pixels, held_out),
        num_classes=data.num_classes,
        key=data.fingerprint,
    )


def _held_out(data: ImageSet) -> np.ndarray:
    draw = np.random.default_rng(derive_seed(0, "source held out"))
    share = min(HELD_OUT_SHARE, SOURCE_IMAGES / len(data.usable))
    chosen = []
    for label in np.unique(data.labels[data.usable]):
        rows = data.usable[data.labels[data.usable] == label]
        # Of a single image nothing can be held out, of two one.
        count = min(len(rows) - 1, max(1, round(share * len(rows))))
        chosen.append(draw.permutation(rows)[:count])
    return np.sort(np.concatenate(chosen))


def _characters(
    faces: tuple[str, ...], backbone: str, count: int, image_size: int, purpose: str
) -> SourcePart:
    """Jittered characters as the pretrained network saw them, the same every time."""
    batches = draw_batches(RECIPE, faces, size=image_size, purpose=purpose)
    images, labels = [], []
    for drawn, classes in islice(batches, math.ceil(count / RECIPE.batch_size)):
        images.append((255 * drawn).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        labels.append(classes.numpy())
    mean, std = CATALOGUE[backbone].normalisation
    pixels = Pixels(np.concatenate(images), np.concatenate(labels), mean, std)
    return SourcePart(pixels, np.arange(len(pixels.labels)))


_LAYOUT = 2
"""Raised whenever the same weights would give another probe."""


def source_probe(
    pretrained: Backbone, data: SourceData, *, folder: Path, weights_key: str
) -> LinearProbe:
    """A linear probe of the source's training images on the pretrained network's last features. It
    stands in for that network's own head, which was not kept or is of other classes.

    It is kept in `folder` by `weights_key`, the content of the weights, and that of the images; a
    folder that cannot be written costs no more than the time to fit it again.
    """
    context = f"{weights_key} {data.key} {INVERSE_PENALTY} {_LAYOUT}"
    place = folder / f"source-probe-{hashlib.sha256(context.encode()).hexdigest()[:16]}.npz"
    kept = load_arrays(place, LinearProbe._fields)
    if kept is not None:
        return LinearProbe(*kept)
    pixels, rows = data.train
    probe = fit_probe(features(pretrained, pixels, rows)[-1], pixels.labels[rows])
    with suppress(OSError):
        save_arrays(place, probe._asdict())
    return probe


def load_arrays(path: Path, names: Sequence[str]) -> tuple[np.ndarray, ...] | None:
    """What `save_arrays` kept, in the order of `names`; None if it is absent or damaged."""
    try:
        found = read_arrays(path)
        return tuple(found[name] for name in names)
    except DAMAGE:
        return None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays by name in one file, whole or not at all.

    Raises:
        OSError: the disk is full, or the folder may not be written.
    """
    with atomic_write(path) as draft:
        np.savez(draft, **arrays)  # type: ignore[arg-type]


def glyph_probe(pretrained: Backbone, *, weights: Path, data: SourceData) -> LinearProbe:
    """The probe of the embedded source model, kept beside its weights by their content."""
    with weights.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    return source_probe(pretrained, data, folder=weights.parent, weights_key=content)


class SourceTask:
    """Source images that no training sees, and what the pretrained network and its probe make of
    them.
    """

    def __init__(self, pretrained: Backbone, *, data: SourceData, probe: LinearProbe) -> None:
        self.held_out = data.held_out
        self.pretrained_features = self.features(pretrained)
        self._probe, self._num_classes = probe, data.num_classes

    def features(self, backbone: Backbone) -> list[np.ndarray]:
        """Features (images, width) of the held-out images behind each layer group but the head."""
        return features(backbone, *self.held_out)

    def accuracy(self, last: np.ndarray) -> float:
        """How many of the held-out images the pretrained network's probe reads rightly from their
        features (images, width) before the head, as a share.
        """
        return self._probe.accuracy(last, self._labels)

    @torch.no_grad()
    def head_accuracy(self, head: Head, last: np.ndarray) -> float:
        """The same by a head that has learnt on beside the target's."""
        given = torch.from_numpy(last).to(head.weight.device)
        answers = head.eval()(given).argmax(1).cpu().numpy()
        return float((answers == self._labels).mean())

    @torch.no_grad()
    def head(self) -> Head:
        """A head for the source's classes that starts as the probe, so that its first gradients do
        not tear at features that it has yet to learn to read (arXiv:2202.10054). A class without a
        training image starts at 0.
        """
        head = Head(
            self._probe.weight.shape[1],
            self._num_classes,
            dropout=0.0,
            flattens=False,
            device="cpu",
        )
        classes = torch.from_numpy(self._probe.classes)
        for parameter, values in ((head.weight, self._probe.weight), (head.bias, self._probe.bias)):
            parameter.zero_()
            parameter[classes] = torch.from_numpy(values).to(parameter)
        return head

    @property
    def _labels(self) -> np.ndarray:
        found: np.ndarray = self.held_out.pixels.labels[self.held_out.rows]
        return found


def adaptation_stage(
    strategy: Strategy,
    *,
    pixels: Pixels,
    rows: np.ndarray,
    source: Callable[[], SourceData],
    seed: int,
    pretrained: Callable[[], Backbone],
    folder: Path,
    style_keys: tuple[str, ...],
    style_seed: int,
    device: torch.device,
    on_progress: OnProgress,
) -> Stage | None:
    """The stage that takes `rows` of the target's pixels towards the source; None for none.

    Images in the source's style are made with the network before training and drawn from
    `style_seed`; `folder` keeps them by `style_keys`, which name the target and the network.

    Raises:
        WorkError: images in another style cannot be written.
    """
    chosen = strategy.adaptation
    if isinstance(chosen, NoAdaptation) or (isinstance(chosen, Style) and not chosen.strength):
        return None
    data = source()
    lenders, among = data.train
    if not isinstance(chosen, Style):
        return stage_of(chosen, source=lenders, among=among, seed=seed)
    styled = StyledImages(
        folder=folder,
        pixels=pixels,
        source=lenders,
        among=among,
        network=lambda: StyleNetwork(pretrained(), layers=chosen.layers, pixels=pixels),
        keys=(data.key, *style_keys, str(chosen.layers), device.type),
        seed=style_seed,
        device=device,
        on_progress=on_progress,
    )
    return StyleStage(styled, rows=rows, strength=chosen.strength)
