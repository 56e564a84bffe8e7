"""Families of procedural textures: what brightness lies where, in 0 … 1.

Each takes coordinates (count, 1, size, size), in which one unit is about one element of the
pattern, and draws what else it needs from the generator.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Family = Callable[[Tensor, Tensor, torch.Generator], Tensor]

_TAU = 2 * math.pi


def _square(wave: Tensor) -> Tensor:
    """A wave in -1 … 1 with its slopes made steep, in 0 … 1."""
    return torch.sigmoid(8 * wave)


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


def _stripes(x: Tensor, _y: Tensor, _g: torch.Generator) -> Tensor:
    return _square(torch.sin(_TAU * x))


def _checkers(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    return _square(2 * torch.sin(_TAU * x / 2) * torch.sin(_TAU * y / 2))


def _spots(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    return _square(2 * (0.3 - (_cell(x) ** 2 + _cell(y) ** 2).sqrt()))


def _clouds(x: Tensor, y: Tensor, g: torch.Generator) -> Tensor:
    salt = _salt(g)
    blend = (_value_noise(x, y, salt) * 2 + _value_noise(2 * x, 2 * y, salt + 1)) / 3
    return (1.8 * (blend - 0.5) + 0.5).clamp(0, 1)


def _fibres(x: Tensor, y: Tensor, g: torch.Generator) -> Tensor:
    return (1.8 * (_value_noise(2 * x, y / 5, _salt(g)) - 0.5) + 0.5).clamp(0, 1)


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


def _zigzag(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    return _square(torch.sin(_TAU * (x + 1.2 * _cell(y / 2).abs())))


def _rings(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    """Concentric rings around the middle of cells three units wide."""
    away = (_cell(x / 3) ** 2 + _cell(y / 3) ** 2).sqrt() * 3
    return _square(torch.sin(_TAU * away))


def _lattice(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    return 1 - (10 * (torch.minimum(_cell(x).abs(), _cell(y).abs()) - 0.06)).clamp(0, 1)


def _marble(x: Tensor, y: Tensor, g: torch.Generator) -> Tensor:
    return 0.5 + 0.5 * torch.sin(_TAU * (x / 2 + 1.6 * _value_noise(x / 2, y / 2, _salt(g))))


def _triangles(x: Tensor, y: Tensor, _g: torch.Generator) -> Tensor:
    slanted = (x - y / 2, x + y / 2, y)
    waves = [torch.sin(_TAU * value / 2) for value in slanted]
    return _square(2 * waves[0] * waves[1] * waves[2])


FAMILIES: Mapping[str, Family] = {
    "stripes": _stripes,
    "checkers": _checkers,
    "spots": _spots,
    "clouds": _clouds,
    "fibres": _fibres,
    "cracks": _cracks,
    "bricks": _bricks,
    "zigzag": _zigzag,
    "rings": _rings,
    "lattice": _lattice,
    "marble": _marble,
    "triangles": _triangles,
}
