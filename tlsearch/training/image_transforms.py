"""Flips, and one warp of a whole batch: each image has a matrix of its own."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ASPECT = 4 / 3
"""Largest ratio of a crop's sides, as in torchvision's RandomResizedCrop (arXiv:1409.4842)."""


class Moves(NamedTuple):
    """How each image of a batch is moved, (B,) each; angles in radians, clockwise.

    `shift_x`, `shift_y` as fractions of the side; `zoom` above 1 enlarges; a crop keeps
    `crop_width`, `crop_height` of the sides around a point that is `crop_x`, `crop_y` of the way
    from the left and upper end of where it may lie.
    """

    rotation: np.ndarray
    shear: np.ndarray
    zoom: np.ndarray
    shift_x: np.ndarray
    shift_y: np.ndarray
    crop_width: np.ndarray
    crop_height: np.ndarray
    crop_x: np.ndarray
    crop_y: np.ndarray


def crop_sides(area: np.ndarray, aspect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Width and height, as shares of the sides, of crops with these shares of the area; aspect
    -1 … 1 stands for ratios of 1 / ASPECT … ASPECT. One that would not fit keeps its area.
    """
    ratio = ASPECT**aspect
    ratio = np.clip(ratio, area, 1 / area)
    return np.sqrt(area * ratio), np.sqrt(area / ratio)


def flipped(images: Tensor, left_right: np.ndarray, upside_down: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with those flipped for which (B,) says so; no pixel changes its value."""
    for chosen, axis in ((left_right, 3), (upside_down, 2)):
        if chosen.any():
            where = torch.from_numpy(chosen).to(images.device).view(-1, 1, 1, 1)
            images = torch.where(where, images.flip(axis), images)
    return images


def sampling_matrices(moves: Moves, *, height: int, width: int) -> np.ndarray:
    """Matrices (B, 2, 3) from places in the view to places in the image, both -1 … 1 along x and y.

    The view is a crop of the moved image. About its middle, and in the order of torchvision's
    `affine`, an image is sheared along x, zoomed, rotated and shifted.
    """
    cos, sin, tan = np.cos(moves.rotation), np.sin(moves.rotation), np.tan(moves.shear)
    # In pixels: turns keep angles where the sides differ. The inverse of rotation times shear.
    turn = np.stack([cos - sin * tan, sin + cos * tan, -sin, cos], axis=-1).reshape(-1, 2, 2)
    half = np.array([width, height]) / 2
    inverse = turn / moves.zoom[:, None, None] * half[None, None, :] / half[None, :, None]
    kept = np.stack([moves.crop_width, moves.crop_height], axis=-1)
    place = np.stack([moves.crop_x, moves.crop_y], axis=-1)
    centre = (2 * place - 1) * (1 - kept)
    shift = 2 * np.stack([moves.shift_x, moves.shift_y], axis=-1)
    offset = np.einsum("bij,bj->bi", inverse, centre - shift)
    return np.concatenate([inverse * kept[:, None, :], offset[:, :, None]], axis=-1)


def warped(images: Tensor, matrices: np.ndarray) -> Tensor:
    """Images (B, C, H, W) sampled where the matrices (B, 2, 3) say, between four pixels each.

    Beyond its edges an image is mirrored: a black corner would tell the network how it was turned.
    """
    height, width = images.shape[2:]
    m = torch.from_numpy(matrices.astype(np.float32)).to(images.device)[..., None, None]
    x = _centres(width, images.device)[None, None, :]
    y = _centres(height, images.device)[None, :, None]
    # By hand, not by affine_grid: its matrix product might round by the size of the batch.
    grid = torch.stack([m[:, i, 0] * x + m[:, i, 1] * y + m[:, i, 2] for i in (0, 1)], dim=-1)
    found = F.grid_sample(
        images.contiguous(), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return found.clamp_(0, 1)


def _centres(size: int, device: torch.device) -> Tensor:
    """Middles of pixels, -1 … 1 from edge to edge."""
    return (2 * torch.arange(size, device=device, dtype=torch.float32) + 1) / size - 1


# Brightness, contrast, saturation and hue of a batch, each image by factors of its own.
#
# The arithmetic is that of torchvision's `adjust_…`, which take one factor for all images: one
# after
# the other those would keep a GPU waiting. A test compares the two.


_GREY = (0.2989, 0.587, 0.114)
"""Shares of red, green and blue in brightness (ITU-R BT.601), as torchvision rounds them."""


def brightened(images: Tensor, factor: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0 … 1, each times its factor (B,)."""
    return (images * _wide(factor)).clamp_(0, 1)


def contrasted(images: Tensor, factor: Tensor) -> Tensor:
    """Differences of images (B, 3, H, W) to their mean grey, each times its factor (B,)."""
    mean = _grey(images).mean(dim=(1, 2, 3), keepdim=True)
    return _blend(images, mean, factor)


def saturated(images: Tensor, factor: Tensor) -> Tensor:
    """Differences of pixels (B, 3, H, W) to their own grey, each times its factor (B,)."""
    return _blend(images, _grey(images), factor)


def hue_shifted(images: Tensor, turns: Tensor) -> Tensor:
    """Images (B, 3, H, W) in 0 … 1 with hues moved by `turns` (B,) of the colour circle.

    Value and chroma stay as they are, so grey does. Conversion to hue and back as in HSV.
    """
    value = images.amax(dim=1)
    chroma = value - images.amin(dim=1)
    red, green, blue = images.unbind(dim=1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    sector = sector + 6 * turns.view(-1, 1, 1)
    channels = []
    for start in (5, 3, 1):
        place = torch.remainder(start + sector, 6)
        channels.append(value - chroma * torch.minimum(place, 4 - place).clamp_(0, 1))
    return torch.stack(channels, dim=1).clamp_(0, 1)


def _blend(images: Tensor, towards: Tensor, factor: Tensor) -> Tensor:
    factor = _wide(factor)
    return (factor * images + (1 - factor) * towards).clamp_(0, 1)


def _grey(images: Tensor) -> Tensor:
    weights = torch.tensor(_GREY, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def _wide(factor: Tensor) -> Tensor:
    return factor.view(-1, 1, 1, 1)
