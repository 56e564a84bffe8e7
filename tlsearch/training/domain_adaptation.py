"""Stages of a training batch that take images towards those of the source."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

import numpy as np
import torch
from torch import Tensor

from tlsearch.config.augmentation import Adaptation, Fourier, Moments
from tlsearch.config.runtime import derive_seed
from tlsearch.training.batches import Pixels, unit_batch


def match_moments(images: Tensor, sources: Tensor, *, strength: float) -> Tensor:
    """`images` with each channel's mean and standard deviation taken towards those of `sources`.

    Both: float (B, C, H, W), paired; sizes may differ. At `strength` 1 the moments are the source
    image's, at 0 the image is as it was, between them the two are mixed. A channel of one value has
    no contrast to stretch: it takes the mean alone. Values may leave the images' range.

    Source: adaptive instance normalisation, arXiv:1703.06868, equation 8, here on pixels.
    """
    (deviation, mean), (new_deviation, new_mean) = (
        torch.std_mean(x, dim=(2, 3), correction=0, keepdim=True) for x in (images, sources)
    )
    flat = deviation < _FLAT
    scale = torch.where(flat, 0, new_deviation / torch.where(flat, 1, deviation))
    return torch.lerp(images, (images - mean) * scale + new_mean, strength)


_FLAT = 1e-6
"""Below a byte's rounding by far: such a channel holds one value."""


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


TRANSFORMS: Mapping[type[Adaptation], Callable[..., Tensor]] = {
    Fourier: exchange_amplitudes,
    Moments: match_moments,
}
"""What takes images, paired with sources, towards these by the fields of an adaptation."""


class TowardsSource:
    """Takes each image towards a source image that is drawn from (seed, epoch, row): the same
    sample sees the same one whatever else is in its batch.
    """

    def __init__(
        self,
        transform: Callable[[Tensor, Tensor], Tensor],
        *,
        source: Pixels,
        among: np.ndarray,
        seed: int,
    ) -> None:
        self._transform, self._source, self._among, self._seed = transform, source, among, seed

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The contract of `Stage`."""
        drawn = drawn_for(rows, among=self._among, seed=self._seed, epoch=epoch)
        sources = unit_batch(self._source, drawn, device=images.device)
        # One memory layout, so that sums over pixels are taken in one order in every batch.
        adapted = self._transform(images.contiguous(), sources.contiguous())
        return adapted.clamp(0, 1)


def drawn_for(rows: np.ndarray, *, among: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """For each row one of `among` (M,), drawn from (seed, epoch, row)."""
    places = [derive_seed(seed, "adaptation", epoch, int(row)) % len(among) for row in rows]
    return among[np.array(places, dtype=np.int64)]


def stage_of(
    adaptation: Adaptation, *, source: Pixels, among: np.ndarray, seed: int
) -> TowardsSource | None:
    """The stage of an adaptation that is computed on the fly, by source images `among` all of
    `source`; None for one that changes nothing or is made beforehand.
    """
    transform, fields = TRANSFORMS.get(type(adaptation)), asdict(adaptation)
    if transform is None or not all(fields.values()):
        return None
    transform = partial(transform, **fields)
    return TowardsSource(transform, source=source, among=among, seed=seed)
