"""The source model's own task as a data set: printed characters in the fonts it trained on."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tlsearch.data.drawn import draw_set
from tlsearch.data.glyph_recipe import CHARACTERS, RECIPE, Jitter
from tlsearch.data.glyphs import draw_labels, render_glyphs
from tlsearch.data.images import ImageSet
from tlsearch.study.sources import Glyphs


def draw_glyph_images(
    source: Glyphs, *, size: int, on_progress: Callable[[float, str], None]
) -> ImageSet:
    """Digits and capital letters, one channel; jittered as in training at difficulty 0.5."""
    glyphs = render_glyphs(RECIPE.faces)
    jitter = scaled(RECIPE.jitter, 2 * source.difficulty)

    def draw(label: int, count: int, generator: torch.Generator) -> Tensor:
        labels = torch.full((count,), label)
        return draw_labels(glyphs, labels, size=size, jitter=jitter, generator=generator)

    return draw_set(
        source,
        size=size,
        channels=1,
        class_names=tuple(CHARACTERS),
        draw=draw,
        on_progress=on_progress,
    )


def scaled(jitter: Jitter, factor: float) -> Jitter:
    """Every change `factor` times as strong: 0 leaves glyphs as they are, 1 changes nothing.

    Ranges that start from an identity keep it: scale and contrast 1, stroke 0.
    """
    low, high = jitter.stroke
    return replace(
        jitter,
        rotation=factor * jitter.rotation,
        shear=factor * jitter.shear,
        scale=(1.0, 1 + factor * (jitter.scale[1] - 1)),
        aspect=factor * jitter.aspect,
        shift=factor * jitter.shift,
        warp=factor * jitter.warp,
        stroke=(factor * low, factor * high),
        coarse_share=min(1.0, factor * jitter.coarse_share),
        inverted_share=factor * jitter.inverted_share,
        contrast=(1 - factor * (1 - jitter.contrast[0]), 1.0),
        noise=factor * jitter.noise,
    )
