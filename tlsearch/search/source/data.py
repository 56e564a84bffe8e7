"""Labelled images of the task that the weights were trained on: what trains, what is held out."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from tlsearch.data import store
from tlsearch.data.glyph_recipe import CHARACTERS, RECIPE
from tlsearch.data.glyphs import draw_batch, render_glyphs
from tlsearch.data.images import ImageSet
from tlsearch.evidence.measures.protocol import PROBE_IMAGES, SOURCE_IMAGES
from tlsearch.search.jobs import Setting
from tlsearch.study.seeds import derive_seed
from tlsearch.training.batches import Pixels
from tlsearch.transfer.backbones import normalisation

HELD_OUT_SHARE = 0.2
"""Of a study's own source images, class by class, up to `SOURCE_IMAGES` in all."""


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
        return own_source(store.load(setting.source), backbone=config.backbone.name)
    if config.backbone.weights == "glyphs":
        return glyph_source(backbone=config.backbone.name, image_size=config.data.size)
    return None


def glyph_source(*, backbone: str, image_size: int) -> SourceData:
    """The embedded source task: printed characters."""

    def drawn(faces: tuple[str, ...], count: int, purpose: str) -> Callable[[], SourcePart]:
        return lambda: _whole(_characters(faces, backbone, count, image_size, purpose))

    return SourceData(
        make_train=drawn(RECIPE.faces, PROBE_IMAGES, "probe"),
        make_held_out=drawn(RECIPE.unseen_faces, SOURCE_IMAGES, "held out"),
        num_classes=len(CHARACTERS),
        key=f"glyphs {image_size} {RECIPE!r}",
    )


def own_source(data: ImageSet, *, backbone: str) -> SourceData:
    """A study's own source images, divided by lot, the same way every time."""
    mean, std = normalisation(backbone)
    pixels = Pixels(images=data.images, labels=data.labels, mean=mean, std=std)
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


def _whole(pixels: Pixels) -> SourcePart:
    return SourcePart(pixels, np.arange(len(pixels.labels)))


def _characters(
    faces: tuple[str, ...], backbone: str, count: int, image_size: int, purpose: str
) -> Pixels:
    """Jittered characters as the pretrained network saw them, the same every time."""
    glyphs = render_glyphs(faces)
    generator = torch.Generator().manual_seed(derive_seed(RECIPE.seed, purpose))
    images, labels = [], []
    for _ in range(0, count, RECIPE.batch_size):
        drawn, classes = draw_batch(
            glyphs,
            count=RECIPE.batch_size,
            size=image_size,
            jitter=RECIPE.jitter,
            generator=generator,
        )
        images.append((255 * drawn).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())
        labels.append(classes.numpy())
    mean, std = normalisation(backbone)
    return Pixels(np.concatenate(images), np.concatenate(labels), mean, std)
