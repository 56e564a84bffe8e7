"""Mean and standard deviation of each channel, taken from another image."""

import torch
from torch import Tensor


def match_moments(images: Tensor, sources: Tensor, *, strength: float) -> Tensor:
    """`images` with each channel's mean and standard deviation taken towards those of `sources`.

    Both: float (B, C, H, W), paired; sizes may differ. At `strength` 1 the moments are the source
    image's, at 0 the image is as it was, between them the two are mixed. A channel of one value has
    no contrast to stretch: it takes the mean alone. Values may leave the images' range.

    Source: adaptive instance normalisation, arXiv:1703.06868, equation 8, here on pixels.
    """
    mean, deviation = _moments(images)
    new_mean, new_deviation = _moments(sources)
    flat = deviation < _FLAT
    scale = torch.where(flat, 0, new_deviation / torch.where(flat, 1, deviation))
    return torch.lerp(images, (images - mean) * scale + new_mean, strength)


_FLAT = 1e-6
"""Below a byte's rounding by far: such a channel holds one value."""


def _moments(images: Tensor) -> tuple[Tensor, Tensor]:
    deviation, mean = torch.std_mean(images, dim=(2, 3), correction=0, keepdim=True)
    return mean, deviation
