"""Procedural textures: a family of patterns is a class."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tlsearch.config.sources import Textures
from tlsearch.data.glyph_recipe import TRAINING_FACES
from tlsearch.data.synthetic import (
    affine_grid,
    axes,
    between,
    paint,
    sample,
    smooth_noise,
    two_colours,
)
from tlsearch.data.synthetic.glyphs import render_glyphs

Family = Callable[[Tensor, Tensor, torch.Generator], Tensor]
"""Brightness in 0 … 1 from coordinates (count, 1, size, size), in which one unit is about one
element of the pattern, and a generator for what else it draws.
"""

_TAU = 2 * math.pi


def _square(wave: Tensor) -> Tensor:
    """A wave in -1 … 1 with its slopes made steep, in 0 … 1."""
    return torch.sigmoid(8 * wave)


def _stretched(noise: Tensor) -> Tensor:
    """Noise in 0 … 1 with more contrast."""
    return (1.8 * (noise - 0.5) + 0.5).clamp(0, 1)


def _cell(value: Tensor) -> Tensor:
    """Position within its cell, -0.5 … 0.5."""
    return value - value.floor() - 0.5


def _hashed(i: Tensor, j: Tensor, salt: int) -> Tensor:
    """A number in 0 … 1 for each whole pair; integer arithmetic, so the same everywhere."""
    mixed = i.long() * 374_761_393 + j.long() * 668_265_263 + salt * 1_274_126_177
    mixed = (mixed ^ (mixed >> 13)) * 1_103_515_245 & 0x7FFFFFFF
    mixed = (mixed ^ (mixed >> 16)) * 69_069 & 0x7FFFFFFF
    return mixed.to(torch.float32) / 0x7FFFFFFF


def _value_noise(x: Tensor, y: Tensor, salt: int) -> Tensor:
    """Numbers of the cells' corners, smoothly blended; 0 … 1."""
    i, j = x.floor(), y.floor()
    u, v = x - i, y - j
    u, v = u * u * (3 - 2 * u), v * v * (3 - 2 * v)
    top = _hashed(i, j, salt) * (1 - u) + _hashed(i + 1, j, salt) * u
    low = _hashed(i, j + 1, salt) * (1 - u) + _hashed(i + 1, j + 1, salt) * u
    return top * (1 - v) + low * v


def _salt(generator: torch.Generator) -> int:
    return int(torch.randint(1 << 20, (), generator=generator))


def _clouds(x: Tensor, y: Tensor, g: torch.Generator) -> Tensor:
    salt = _salt(g)
    blend = (_value_noise(x, y, salt) * 2 + _value_noise(2 * x, 2 * y, salt + 1)) / 3
    return _stretched(blend)


def _cracks(x: Tensor, y: Tensor, g: torch.Generator) -> Tensor:
    """Borders between the nearest of scattered points (Voronoi cells)."""
    salt, distances = _salt(g), []
    i, j = x.floor(), y.floor()
    for a in (-1, 0, 1):
        for b in (-1, 0, 1):
            px = i + a + _hashed(i + a, j + b, salt)
            py = j + b + _hashed(i + a, j + b, salt + 1)
            distances.append(((x - px) ** 2 + (y - py) ** 2).sqrt())
    two = torch.stack(distances).topk(2, dim=0, largest=False).values
    return (4 * (two[1] - two[0])).clamp(0, 1)


def _bricks(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    row = (2 * y).floor()
    joint = torch.minimum(0.5 - _cell(x + 0.5 * (row % 2)).abs(), (0.5 - _cell(2 * y).abs()) / 2)
    return (12 * (joint - 0.02)).clamp(0, 1)


def _rings(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    """Concentric rings around the middle of cells three units wide."""
    away = (_cell(x / 3) ** 2 + _cell(y / 3) ** 2).sqrt() * 3
    return _square(torch.sin(_TAU * away))


def _triangles(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    slanted = (x - y / 2, x + y / 2, y)
    waves = [torch.sin(_TAU * value / 2) for value in slanted]
    return _square(2 * waves[0] * waves[1] * waves[2])


FAMILIES: Mapping[str, Family] = {
    "stripes": lambda x, _y, _g: _square(torch.sin(_TAU * x)),
    "checkers": lambda x, y, _g: _square(2 * torch.sin(_TAU * x / 2) * torch.sin(_TAU * y / 2)),
    "spots": lambda x, y, _g: _square(2 * (0.3 - (_cell(x) ** 2 + _cell(y) ** 2).sqrt())),
    "clouds": _clouds,
    "fibres": lambda x, y, g: _stretched(_value_noise(2 * x, y / 5, _salt(g))),
    "cracks": _cracks,
    "bricks": _bricks,
    "zigzag": lambda x, y, _g: _square(torch.sin(_TAU * (x + 1.2 * _cell(y / 2).abs()))),
    "rings": _rings,
    "lattice": lambda x, y, _g: (
        1 - (10 * (torch.minimum(_cell(x).abs(), _cell(y).abs()) - 0.06)).clamp(0, 1)
    ),
    "marble": lambda x, y, g: (
        0.5 + 0.5 * torch.sin(_TAU * (x / 2 + 1.6 * _value_noise(x / 2, y / 2, _salt(g))))
    ),
    "triangles": _triangles,
}


_FACES = TRAINING_FACES[:8]
_FIRST_CHARACTER = 10  # A: the class at place k among the families repeats the k-th letter
_SHEET = 4  # characters a side on the sheet that a picture is cut from
_SEEN = 1.5  # characters a side in a picture
_ELEMENTS = (3.0, 6.0)  # of a pattern, a side


def draw(source: Textures, label: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Images (count, 3, size, size) of the family at place `label`.

    `difficulty` turns, stretches and warps the patterns, blends in another class, adds noise and
    takes contrast. `similarity` moves what distinguishes the classes from patterns in colour (0) to
    a repeated character for each class, bright on dark grey (1), as the source model knows them;
    which is harder for any network that does not know them.
    """
    hard, alike = source.difficulty, source.similarity
    # One other class for all of a chunk: it may be any of them.
    step = 1 + int(torch.randint(source.classes - 1, (), generator=generator))
    kinds = []
    for kind in (label, (label + step) % source.classes):
        pattern = _pattern(tuple(FAMILIES)[kind], count, size, hard, generator)
        strokes = _characters(_FIRST_CHARACTER + kind, count, size, generator)
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


def _characters(character: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Ink (count, 1, size, size) of one character over and over, turned and shifted."""
    glyphs = render_glyphs(_FACES)
    faces = torch.randint(len(glyphs), (count,), generator=generator)
    small = F.avg_pool2d(glyphs[:, character][:, None], 2)[faces]
    sheet = small.repeat(1, 1, _SHEET, _SHEET)
    grid = affine_grid(
        size,
        angle=between(count, -0.3, 0.3, generator).flatten(),
        zoom=(_SEEN / _SHEET) / between(count, 0.85, 1.15, generator).flatten(),
        # By half a character.
        shift=tuple((torch.rand(2, count, generator=generator) * 2 - 1) / _SHEET),
    )
    distance = sample(sheet, grid) / _SEEN
    stroke = between(count, 0.0, 0.02, generator)
    return ((distance + stroke) * size + 0.5).clamp(0, 1)
