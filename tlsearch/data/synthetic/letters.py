"""Capital letters that the glyph source model never trained on, among clutter.

*Unseen* means: no alphabet here is in the source recipe. Three are the fonts that the recipe holds
out to measure itself; the others are alphabets of mathematics in fonts of which the recipe used the
plain Latin letters alone (sans, typewriter, calligraphic, script, double-struck, black letter).
The families are related, though, all of them come with matplotlib, and the letters A to Z as such
are known: it is the same task in other hands, not another task.
"""

import math
from string import ascii_uppercase

import torch
from torch import Tensor

from tlsearch.config.sources import Letters
from tlsearch.data.synthetic import (
    affine_grid,
    axes,
    between,
    chosen,
    paint,
    sample,
    smooth_noise,
    two_colours,
)
from tlsearch.data.synthetic.glyphs import render_alphabets

_NUM_LETTERS = 26


def _from(code: int) -> str:
    return "".join(chr(code + i) for i in range(_NUM_LETTERS))


_DOUBLE_STRUCK = "".join(
    {"C": "ℂ", "H": "ℍ", "N": "ℕ", "P": "ℙ", "Q": "ℚ", "R": "ℝ", "Z": "ℤ"}.get(
        letter, chr(0x1D538 + i)
    )
    for i, letter in enumerate(ascii_uppercase)
)
# Shapes as in books, then ornate ones; in Unicode's block of mathematical alphabets.
PLAIN_ALPHABETS = (
    ("DejaVuSerif-Bold.ttf", ascii_uppercase),
    ("STIXGeneralBolIta.ttf", ascii_uppercase),
    ("cmss10.ttf", ascii_uppercase),
    ("STIXGeneral.ttf", _from(0x1D5A0)),  # sans
    ("STIXGeneral.ttf", _from(0x1D63C)),  # sans, bold italic
    ("STIXGeneral.ttf", _from(0x1D670)),  # typewriter
)
ORNATE_ALPHABETS = (
    ("cmsy10.ttf", ascii_uppercase),  # calligraphic
    ("STIXGeneral.ttf", _from(0x1D4D0)),  # script, bold
    ("STIXGeneral.ttf", _DOUBLE_STRUCK),
    ("STIXGeneral.ttf", _from(0x1D56C)),  # black letter, bold
)


def draw(source: Letters, label: int, count: int, size: int, generator: torch.Generator) -> Tensor:
    """Images (count, 3, size, size) of the letter at place `label`.

    `difficulty` brings other letters cut by the edges, lines, patches that hide, uneven paper,
    noise, and takes contrast. `similarity` 1 draws plain alphabets as the source does, bright
    on dark grey; 0 draws ornate ones too, warped, hollow or hatched, in colours, dark or bright.
    """
    hard, strange = source.difficulty, 1 - source.similarity
    labels = torch.full((count,), label)
    maps = _faces(labels, strange, generator)
    grid = _grid(count, size, warp=0.03 + 0.05 * strange, shift=0.05 + 0.07 * hard, g=generator)
    ink = _fill(sample(maps, grid), size, strange, generator)
    others = torch.randint(_NUM_LETTERS, (2, count), generator=generator)
    for other in others:  # at a side, so that the one in the middle is the class
        cut = _faces(other, strange, generator)
        aside = _grid(count, size, warp=0.03, shift=0.05, g=generator) + _aside(count, generator)
        seen = chosen(count, hard, generator)
        stray = _fill(sample(cut, aside), size, strange, generator)
        ink = torch.maximum(ink, stray * seen * between(count, 0.4, 1.0, generator))
    ink = torch.maximum(ink, _lines(count, size, hard, generator))
    ink = ink * (1 - _patch(count, size, hard, generator))
    paper, pen = two_colours(
        count,
        contrast=1 - 0.65 * hard,
        saturation=strange,
        dark_ink=0.1 + 0.8 * strange,
        generator=generator,
    )
    uneven = 0.25 * hard * smooth_noise(count, (3, 3), size, generator)
    grain = 0.12 * hard * torch.randn(count, 1, size, size, generator=generator)
    return (paint(ink, paper=paper, pen=pen) + uneven + grain).clamp(0, 1)


def _faces(labels: Tensor, strange: float, generator: torch.Generator) -> Tensor:
    """Distance maps (count, 1, side, side) in a random alphabet; ornate ones for half at most."""
    count = len(labels)
    a, b = (
        glyphs[torch.randint(len(glyphs), (count,), generator=generator), labels]
        for glyphs in map(render_alphabets, (PLAIN_ALPHABETS, ORNATE_ALPHABETS))
    )
    return torch.where(chosen(count, 0.5 * strange, generator)[:, 0], b, a)[:, None]


def _grid(count: int, size: int, *, warp: float, shift: float, g: torch.Generator) -> Tensor:
    """Where to sample (count, size, size, 2): a random rotation, shear, scale, shift and warp."""
    flat = affine_grid(
        size,
        angle=between(count, -0.2, 0.2, g).flatten(),
        shear=between(count, -0.3, 0.3, g).flatten(),
        zoom=1 / between(count, 0.95, 1.35, g).flatten(),
        shift=tuple((torch.rand(2, count, generator=g) * 2 - 1) * 2 * shift),
    )
    # Knots spread evenly make a smooth deviate of a little over half their own spread.
    bent = smooth_noise(count, (4, 4), size, g, channels=2) * (2 * warp)
    return flat + bent.permute(0, 2, 3, 1)


def _aside(count: int, generator: torch.Generator) -> Tensor:
    """Offsets (count, 1, 1, 2) that push a glyph half out at a random side."""
    angle = torch.rand(count, generator=generator) * (2 * math.pi)
    far = 0.95 + 0.3 * torch.rand(count, generator=generator)
    return torch.stack([angle.cos() * far, angle.sin() * far], 1).view(-1, 1, 1, 2)


def _fill(distance: Tensor, size: int, strange: float, generator: torch.Generator) -> Tensor:
    """Ink (count, 1, size, size) in 0 … 1: solid, or in part hollow and hatched."""
    count = len(distance)
    stroke = between(count, -0.01, 0.02, generator)
    solid = ((distance + stroke) * size + 0.5).clamp(0, 1)
    rim = (1.2 - ((distance + stroke) * size).abs()).clamp(0, 1)
    x, y = axes(size)
    angle = between(count, 0.0, math.pi, generator)
    step = between(count, 3.0, 6.0, generator)  # pixels
    wave = torch.sin((x * angle.cos() + y * angle.sin()) * (math.pi * size / step))
    hatched = solid * (0.5 + 0.5 * wave)
    ink = torch.where(chosen(count, 0.35 * strange, generator), rim, solid)
    return torch.where(chosen(count, 0.35 * strange, generator), hatched, ink)


def _lines(count: int, size: int, hard: float, generator: torch.Generator) -> Tensor:
    """Up to three straight strokes across the image, as wide as a letter's thin ones."""
    x, y = axes(size)
    ink = torch.zeros(count, 1, size, size)
    for _ in range(3):
        angle = between(count, 0.0, math.pi, generator)
        offset = between(count, -0.9, 0.9, generator)
        width = between(count, 0.02, 0.06, generator)
        away = (x * angle.cos() + y * angle.sin() - offset).abs()
        line = ((width - away) * (size / 2) + 0.5).clamp(0, 1)
        seen = chosen(count, 0.6 * hard, generator)
        ink = torch.maximum(ink, line * seen * between(count, 0.4, 1.0, generator))
    return ink


def _patch(count: int, size: int, hard: float, generator: torch.Generator) -> Tensor:
    """A disc that hides what is below it: at most a third of the side in radius."""
    x, y = axes(size)
    middle = between(count, -0.5, 0.5, generator), between(count, -0.5, 0.5, generator)
    radius = between(count, 0.15, 0.15 + 0.25 * hard, generator)
    away = ((x - middle[0]) ** 2 + (y - middle[1]) ** 2).sqrt()
    return ((radius - away) * (size / 2) + 0.5).clamp(0, 1) * chosen(count, 0.8 * hard, generator)
