"""Fourier domain adaptation: the low frequencies' amplitudes of one image in another."""

import torch
from torch import Tensor


def exchange_amplitudes(images: Tensor, sources: Tensor, *, band: float, strength: float) -> Tensor:
    """`images` with the amplitudes of `sources` in the low frequencies, and phases of their own.

    Both: float (B, C, H, W), paired, of one size. `band` 0 … 1: the share of each axis's
    frequencies, from the lowest, that is touched; 0 touches none, the smallest above it the mean
    alone. `strength` 0 … 1 mixes the amplitudes. Values may leave the images' range.

    Source: arXiv:2004.05498, equations 3 and 4; its beta is half of `band`.
    """
    own, theirs = torch.fft.fft2(images), torch.fft.fft2(sources)
    height, width = images.shape[-2:]
    # In cycles per pixel, from 0 to a half.
    rows = torch.fft.fftfreq(height, device=images.device).abs()
    columns = torch.fft.fftfreq(width, device=images.device).abs()
    low = torch.maximum(rows[:, None], columns[None, :]) < band / 2
    amplitudes = torch.lerp(own.abs(), theirs.abs(), strength * low.to(images.dtype))
    # The touched band is symmetric, so what is left of an imaginary part is rounding.
    adapted: Tensor = torch.fft.ifft2(torch.polar(amplitudes, own.angle())).real
    return adapted
