"""Procedural textures: a family of patterns is a class."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from tlsearch.data.drawn import between, draw_set, paint, smooth_noise, two_colours
from tlsearch.data.glyph_recipe import TRAINING_FACES
from tlsearch.data.glyphs import Glyphs, render_glyphs
from tlsearch.data.images import ImageSet
from tlsearch.data.letters import axes
from tlsearch.data.texture_families import FAMILIES
from tlsearch.study.sources import Textures

_FACES = TRAINING_FACES[:8]
_TILES = 3  # letters a side in a picture that is made of them
_MOST_STROKES = 0.8  # share of the brightness that characters make at similarity 1
_ELEMENTS = (3.0, 6.0)  # of a pattern, a side


def draw_textures(
    source: Textures, *, size: int, on_progress: Callable[[float, str], None]
) -> ImageSet:
    """Textures, three channels.

    `difficulty` turns, stretches and warps the patterns, blends in another family's, adds noise and
    takes contrast. `similarity` 0 is colour and pattern alone; towards 1 the pattern shows through
    the strokes of characters most of all, bright on dark grey, as the source model knows them.
    """
    glyphs = render_glyphs(_FACES)
    families = tuple(FAMILIES)

    def draw(label: int, count: int, generator: torch.Generator) -> Tensor:
        return _draw(source, families[label], count, size, glyphs, generator)

    return draw_set(
        source,
        size=size,
        channels=3,
        class_names=families[: source.classes],
        draw=draw,
        on_progress=on_progress,
    )


def _draw(
    source: Textures, family: str, count: int, size: int, glyphs: Glyphs, generator: torch.Generator
) -> Tensor:
    hard, alike = source.difficulty, source.similarity
    pattern = _pattern(family, count, size, hard, generator)
    names = list(FAMILIES)[: source.classes]
    # One other class for all of a chunk: it may be any of them.
    step = 1 + int(torch.randint(len(names) - 1, (), generator=generator))
    rival = _pattern(names[(names.index(family) + step) % len(names)], count, size, hard, generator)
    share = between(count, 0.0, 0.9 * hard, generator) / 2
    pattern = pattern * (1 - share) + rival * share
    strokes = _characters(count, size, glyphs, generator)
    through = _MOST_STROKES * alike
    pattern = pattern * (1 - through) + strokes * (0.15 + 0.85 * pattern) * through
    paper, pen = two_colours(
        count,
        contrast=1 - 0.6 * hard,
        saturation=1 - alike,
        dark_ink=0.1 + 0.4 * (1 - alike),
        generator=generator,
    )
    uneven = 0.2 * hard * smooth_noise(count, (3, 3), size, generator)
    grain = 0.15 * hard * torch.randn(count, 1, size, size, generator=generator)
    return (paint(pattern, paper=paper, pen=pen) + uneven + grain).clamp(0, 1)


def _pattern(family: str, count: int, size: int, hard: float, generator: torch.Generator) -> Tensor:
    """Brightness (count, 1, size, size) of one family, each image at its own place and turn."""
    x, y = axes(size)
    turn = between(count, -1.0, 1.0, generator) * math.pi * (0.05 + 0.95 * hard)
    low, high = _ELEMENTS
    middle, spread = math.sqrt(low * high), math.log(high / low) * (0.2 + 0.8 * hard) / 2
    elements = middle * torch.exp(between(count, -spread, spread, generator))
    stretch = torch.exp(between(count, -0.4, 0.4, generator) * hard)
    shift = between(count, 0.0, 7.0, generator), between(count, 0.0, 7.0, generator)
    bend = 0.35 * hard * smooth_noise(count, (4, 4), size, generator, channels=2)
    across = (x * turn.cos() + y * turn.sin()) * elements / 2 * stretch
    along = (y * turn.cos() - x * turn.sin()) * elements / 2 / stretch
    fields = across + shift[0] + bend[:, :1], along + shift[1] + bend[:, 1:]
    return FAMILIES[family](*fields, generator)


def _characters(count: int, size: int, glyphs: Glyphs, generator: torch.Generator) -> Tensor:
    """Ink (count, 1, size, size) of a sheet of random characters, turned and shifted a little."""
    num_faces, num_classes, side = glyphs.distances.shape[:3]
    shape = (count, _TILES, _TILES)
    faces = torch.randint(num_faces, shape, generator=generator)
    labels = torch.randint(num_classes, shape, generator=generator)
    # 64 px a character are more than a tile of the picture holds.
    small = F.avg_pool2d(glyphs.distances.flatten(0, 1)[:, None], 4)[:, 0] / _TILES
    tiles = small[faces * num_classes + labels]
    sheet = tiles.permute(0, 1, 3, 2, 4).reshape(count, 1, *[_TILES * (side // 4)] * 2)
    angle = between(count, -0.3, 0.3, generator).flatten()
    zoom = between(count, 0.6, 0.9, generator).flatten()
    move = (torch.rand(2, count, generator=generator) * 2 - 1) * 0.1
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = [torch.stack([cos, -sin, move[0]], 1), torch.stack([sin, cos, move[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 1, size, size], align_corners=False)
    distance = F.grid_sample(sheet, grid, padding_mode="border", align_corners=False)
    stroke = between(count, 0.0, 0.03, generator)
    return ((distance + stroke) * size + 0.5).clamp(0, 1)
