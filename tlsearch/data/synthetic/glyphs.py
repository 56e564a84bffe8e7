"""The embedded source data: printed characters, rendered from the fonts that matplotlib carries.

Each glyph is kept as a signed distance to its outline, so that one shift of the threshold makes
strokes thicker or thinner, and edges stay sharp after any affine map. A batch is jittered anew
each time it is drawn; nothing but 22 × 36 small distance maps is held.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn import functional as F

from tlsearch.config.runtime import derive_seed
from tlsearch.config.sources import Glyphs as GlyphSource
from tlsearch.data.glyph_recipe import CHARACTERS, RECIPE, Jitter, Recipe, font_file
from tlsearch.data.synthetic import affine_grid, between, chosen, sample

_RENDER = 128  # pixels of the canvas that distances are measured on
_STORED = 64  # pixels of the stored distance maps
_BOX = 0.62  # part of the canvas that the longer side of a glyph fills before jitter


def render_glyphs(faces: tuple[str, ...]) -> Tensor:
    """Distance maps of all characters in the given font files, as `render_alphabets`."""
    return render_alphabets(tuple((face, CHARACTERS) for face in faces))


@lru_cache(maxsize=4)
def render_alphabets(alphabets: tuple[tuple[str, str], ...]) -> Tensor:
    """Signed distances (faces, classes, side, side), inside positive, in parts of the canvas, of
    (font file, its characters), as many characters in each; not to be changed, because they are
    kept: 15 MB for the source model's fonts.
    """
    maps = []
    for face, characters in alphabets:
        font = ImageFont.truetype(str(font_file(face)), 2 * _RENDER)
        maps.append([_distance(_draw(font, character)) for character in characters])
    return torch.from_numpy(np.asarray(maps, dtype=np.float32))


def _draw(font: ImageFont.FreeTypeFont, character: str) -> np.ndarray:
    """Where the ink is: centred, its longer side filling `_BOX` of the canvas."""
    sheet = Image.new("L", (6 * _RENDER, 6 * _RENDER))
    ImageDraw.Draw(sheet).text((2 * _RENDER, 2 * _RENDER), character, fill=255, font=font)
    # The ink's own bounds: those that the font declares are off by a tenth in italics.
    ink = sheet.crop(sheet.getbbox())
    scale = _RENDER * _BOX / max(ink.size)
    width, height = (max(1, round(side * scale)) for side in ink.size)
    canvas = Image.new("L", (_RENDER, _RENDER))
    corner = ((_RENDER - width) // 2, (_RENDER - height) // 2)
    canvas.paste(ink.resize((width, height), Image.Resampling.BICUBIC), corner)
    return np.asarray(canvas) >= 128


def _distance(inside: np.ndarray) -> np.ndarray:
    """Signed distance to the outline, reduced to the stored size by averaging."""
    from scipy.ndimage import distance_transform_edt

    signed = distance_transform_edt(inside) - distance_transform_edt(~inside)
    step = _RENDER // _STORED
    blocks = signed.reshape(_STORED, step, _STORED, step).mean(axis=(1, 3))
    reduced: np.ndarray = np.clip(blocks / _RENDER, -0.25, 0.25)
    return reduced


def draw_batch(
    glyphs: Tensor, *, count: int, size: int, jitter: Jitter, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Jittered characters (count, 1, size, size) in 0..1 and their class indices (count,)."""
    labels = torch.randint(glyphs.shape[1], (count,), generator=generator)
    return draw_labels(glyphs, labels, size=size, jitter=jitter, generator=generator), labels


def draw_batches(
    recipe: Recipe, faces: tuple[str, ...], *, size: int, purpose: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches as `draw_batch` draws them, without end, from the recipe's seed and `purpose`."""
    glyphs = render_glyphs(faces)
    generator = torch.Generator().manual_seed(derive_seed(recipe.seed, purpose))
    while True:
        yield draw_batch(
            glyphs,
            count=recipe.batch_size,
            size=size,
            jitter=recipe.jitter,
            generator=generator,
        )


def draw_labels(
    glyphs: Tensor, labels: Tensor, *, size: int, jitter: Jitter, generator: torch.Generator
) -> Tensor:
    """Jittered characters (count, 1, size, size) in 0..1 of the given classes (count,)."""
    count = len(labels)
    faces = torch.randint(len(glyphs), (count,), generator=generator)
    maps = glyphs[faces, labels].unsqueeze(1)
    distance = sample(maps, _places(count, size, jitter, generator))
    stroke = between(count, *jitter.stroke, generator)
    # An edge one pixel wide, as an anti-aliased drawing has.
    ink = ((distance + stroke) * size + 0.5).clamp(0, 1)
    return _degrade(_coarsen(ink, jitter, generator), jitter, generator)


def _places(count: int, size: int, jitter: Jitter, generator: torch.Generator) -> Tensor:
    """Sampling grid (count, size, size, 2): random affine maps, and smooth displacements, which are
    what distinguishes a written line from a printed one.
    """

    def spread(width: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * width

    grid = affine_grid(
        size,
        angle=spread(math.radians(jitter.rotation)),
        shear=spread(math.tan(math.radians(jitter.shear))),
        zoom=1 / between(count, *jitter.scale, generator).flatten(),
        aspect=torch.exp(spread(jitter.aspect)),
        shift=(spread(2 * jitter.shift), spread(2 * jitter.shift)),
    )
    knots = torch.randn(count, 2, 4, 4, generator=generator) * (2 * jitter.warp)
    smooth = F.interpolate(knots, size=(size, size), mode="bicubic", align_corners=True)
    return grid + smooth.permute(0, 2, 3, 1)


def _coarsen(ink: Tensor, jitter: Jitter, generator: torch.Generator) -> Tensor:
    """Reduce and enlarge again a share of the batch, in groups of one resolution each."""
    count, size = ink.shape[0], ink.shape[-1]
    num_coarse = round(count * jitter.coarse_share)
    out = ink.clone()
    for rows in torch.arange(num_coarse).chunk(4):  # labels are in random order already
        span = max(1, size // 2 - jitter.coarsest + 1)
        side = jitter.coarsest + int(torch.randint(span, (), generator=generator))
        small = F.interpolate(ink[rows], size=(side, side), mode="area")
        large = F.interpolate(small, size=(size, size), mode="bicubic", align_corners=False)
        out[rows] = large.clamp(0, 1)
    return out


def _degrade(ink: Tensor, jitter: Jitter, generator: torch.Generator) -> Tensor:
    """Random contrast, background level, polarity and noise; values stay within 0..1."""
    count = ink.shape[0]
    contrast = between(count, *jitter.contrast, generator)
    floor = between(count, 0.0, 1.0, generator) * (1 - contrast)
    image = floor + contrast * ink
    image = torch.where(chosen(count, jitter.inverted_share, generator), 1 - image, image)
    level = between(count, 0.0, jitter.noise, generator)
    return (image + level * torch.randn(image.shape, generator=generator)).clamp(0, 1)


def draw(
    source: GlyphSource, label: int, count: int, size: int, generator: torch.Generator
) -> Tensor:
    """Images (count, 1, size, size) of the digit or capital letter at place `label`, jittered as in
    training at difficulty 0.5.
    """
    jitter, labels = scaled(RECIPE.jitter, 2 * source.difficulty), torch.full((count,), label)
    glyphs = render_glyphs(RECIPE.faces)
    return draw_labels(glyphs, labels, size=size, jitter=jitter, generator=generator)


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
