"""Sources that are drawn: their order, their seeds, and what all of them draw with."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tlsearch.config.runtime import OnProgress, derive_seed
from tlsearch.config.sources import DrawnSource, source_name
from tlsearch.data.dataset import ImageSet, image_set

# Raise it when code changes what the same knobs give.
_VERSION = 1
_CHUNK = 64  # images of one class that share a generator

Draw = Callable[[Any, int, int, int, torch.Generator], Tensor]
"""Images (count, 1 or 3, size, size) in 0 … 1 from (source, class, count, size, generator)."""


def draw_set(
    source: DrawnSource,
    draw: Draw,
    *,
    size: int,
    channels: int,
    names: Sequence[str],
    on_progress: OnProgress,
) -> ImageSet:
    """All images of `source`, its classes in turn by their sizes; `names` are theirs and perhaps of
    further ones.

    The fingerprint is that of the knobs, not of the pixels: another machine rounds some of them to
    the next grey level, and a study may move there.
    """
    counts = np.asarray(source.class_counts())
    labels = _order(counts, np.asarray(source.class_weights()))
    images = np.empty((len(labels), size, size, channels), np.uint8)
    name, done = source_name(source), 0
    for label, count in enumerate(counts.tolist()):
        rows = np.flatnonzero(labels == label)
        for start in range(0, count, _CHUNK):
            generator = torch.Generator()
            generator.manual_seed(derive_seed(source.seed, name, label, start))
            # Always a whole chunk: fewer would draw other numbers.
            chunk = draw(source, label, _CHUNK, size, generator)[: count - start]
            pixels = (chunk * 255).round_().clamp_(0, 255).to(torch.uint8)
            images[rows[start : start + _CHUNK]] = pixels.permute(0, 2, 3, 1).numpy()
            done += len(chunk)
            on_progress(done / len(labels), f"drawing {name}")
    found = image_set(images, labels, tuple(names[: source.num_classes()]))
    recipe = json.dumps([_VERSION, name, source.model_dump(mode="json"), size])
    return replace(found, fingerprint=hashlib.sha256(recipe.encode()).hexdigest()[:16])


def _order(counts: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Class (N,) of each image: the classes are spread evenly."""
    labels = np.repeat(np.arange(len(counts)), counts)
    ranks = np.concatenate([np.arange(n) for n in counts.tolist()])
    return labels[np.lexsort((labels, (ranks + 0.5) / weights[labels]))]


def between(count: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """Uniform numbers (count, 1, 1, 1)."""
    return (torch.rand(count, generator=generator) * (high - low) + low).view(-1, 1, 1, 1)


def chosen(count: int, share: float, generator: torch.Generator) -> Tensor:
    """True (count, 1, 1, 1) with probability `share`."""
    return torch.rand(count, 1, 1, 1, generator=generator) < share


def smooth_noise(
    count: int, knots: tuple[int, int], size: int, generator: torch.Generator, *, channels: int = 1
) -> Tensor:
    """Normal deviates at a grid of `knots` (rows, columns), smoothly enlarged, about unit
    deviation at the knots: (count, channels, size, size).
    """
    coarse = torch.randn(count, channels, *knots, generator=generator)
    return F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)


def paint(ink: Tensor, *, paper: Tensor, pen: Tensor) -> Tensor:
    """Colours (count, 3, size, size): `paper` where `ink` is 0, `pen` where it is 1."""
    return paper + (pen - paper) * ink


def two_colours(
    count: int, *, contrast: float, saturation: float, dark_ink: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Paper and pen (count, 3, 1, 1), `contrast` apart in brightness, grey at saturation 0.

    The pen is the brighter one but for a share `dark_ink`.
    """
    low = between(count, 0.0, 1.0, generator) * (1 - contrast)
    dark, bright = (level + saturation * _tint(count, generator) for level in (low, low + contrast))
    swapped = chosen(count, dark_ink, generator)
    return torch.where(swapped, bright, dark), torch.where(swapped, dark, bright)


def _tint(count: int, generator: torch.Generator) -> Tensor:
    """Deviations of red, green and blue (count, 3, 1, 1) that leave their mean unchanged."""
    colour = torch.rand(count, 3, 1, 1, generator=generator) - 0.5
    return 0.8 * (colour - colour.mean(dim=1, keepdim=True))


def affine_grid(
    size: int,
    *,
    angle: Tensor,
    zoom: Tensor,
    shift: tuple[Tensor, Tensor],
    shear: Tensor | float = 0.0,
    aspect: Tensor | float = 1.0,
) -> Tensor:
    """Where to sample (count, size, size, 2): rotated, sheared, scaled and shifted; all (count,).

    The grid spans -1 … 1, so a shift by the whole picture is 2.
    """
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    rows = [
        torch.stack([cos * aspect, cos * aspect * shear - sin, shift[0]], 1),
        torch.stack([sin * aspect, sin * aspect * shear + cos, shift[1]], 1),
    ]
    shape = [len(angle), 1, size, size]
    return F.affine_grid(torch.stack(rows, 1), shape, align_corners=False)


def sample(maps: Tensor, grid: Tensor) -> Tensor:
    """`maps` (count, C, side, side) at the places of `grid` (count, size, size, 2)."""
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)


def axes(size: int) -> tuple[Tensor, Tensor]:
    """Coordinates of pixel centres, -1 … 1: x (1, 1, 1, size) and y (1, 1, size, 1)."""
    centre = (torch.arange(size) + 0.5) * (2 / size) - 1
    return centre.view(1, 1, 1, -1), centre.view(1, 1, -1, 1)
