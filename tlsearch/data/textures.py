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
_FIRST_CHARACTER = 10  # A: the class at place k among the families repeats the k-th letter
_SHEET = 4  # characters a side on the sheet that a picture is cut from
_SEEN = 1.5  # characters a side in a picture
_ELEMENTS = (3.0, 6.0)  # of a pattern, a side


def draw_textures(
    source: Textures, *, size: int, on_progress: Callable[[float, str], None]
) -> ImageSet:
    """Textures, three channels.

    `difficulty` turns, stretches and warps the patterns, blends in another class, adds noise and
    takes contrast. `similarity` moves what tells the classes from patterns in colour (0) to a
    repeated character for each class, bright on dark grey (1), as the source model knows them;
    which is harder to tell for any network that does not know them.
    """
    glyphs = render_glyphs(_FACES)
    families = tuple(FAMILIES)

    def draw(label: int, count: int, generator: torch.Generator) -> Tensor:
        return _draw(source, label, count, size, glyphs, generator)

    return draw_set(
        source,
        size=size,
        channels=3,
        class_names=families[: source.classes],
        draw=draw,
        on_progress=on_progress,
    )


def _draw(
    source: Textures, label: int, count: int, size: int, glyphs: Glyphs, generator: torch.Generator
) -> Tensor:
    hard, alike = source.difficulty, source.similarity
    # One other class for all of a chunk: it may be any of them.
    step = 1 + int(torch.randint(source.classes - 1, (), generator=generator))
    kinds = []
    for kind in (label, (label + step) % source.classes):
        pattern = _pattern(tuple(FAMILIES)[kind], count, size, hard, generator)
        strokes = _characters(_FIRST_CHARACTER + kind, count, size, glyphs, generator)
        kinds.append(pattern * (1 - alike) + strokes * alike)
    share = between(count, 0.0, 0.45 * hard, generator)
    brightness = kinds[0] * (1 - share) + kinds[1] * share
    paper, pen = two_colours(
        count,
        contrast=1 - 0.6 * hard,
        saturation=1 - alike,
        dark_ink=0.1 + 0.4 * (1 - alike),
        generator=generator,
    )
    uneven = 0.2 * hard * smooth_noise(count, (3, 3), size, generator)
    grain = 0.15 * hard * torch.randn(count, 1, size, size, generator=generator)
    return (paint(brightness, paper=paper, pen=pen) + uneven + grain).clamp(0, 1)


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


def _characters(
    character: int, count: int, size: int, glyphs: Glyphs, generator: torch.Generator
) -> Tensor:
    """Ink (count, 1, size, size) of one character over and over, turned and shifted."""
    faces = torch.randint(len(glyphs.distances), (count,), generator=generator)
    small = F.avg_pool2d(glyphs.distances[:, character][:, None], 2)[faces]
    sheet = small.repeat(1, 1, _SHEET, _SHEET)
    angle = between(count, -0.3, 0.3, generator).flatten()
    zoom = (_SEEN / _SHEET) / between(count, 0.85, 1.15, generator).flatten()
    move = (torch.rand(2, count, generator=generator) * 2 - 1) / _SHEET  # by half a character
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = [torch.stack([cos, -sin, move[0]], 1), torch.stack([sin, cos, move[1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), [count, 1, size, size], align_corners=False)
    distance = F.grid_sample(sheet, grid, padding_mode="border", align_corners=False) / _SEEN
    stroke = between(count, 0.0, 0.02, generator)
    return ((distance + stroke) * size + 0.5).clamp(0, 1)
