"""Brightness, contrast, saturation and hue of a batch, each image by factors of its own.

The arithmetic is that of torchvision's `adjust_…`, which take one factor for all images: one after
the other those would keep a GPU waiting. A test compares the two.
"""

import torch
from torch import Tensor

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
