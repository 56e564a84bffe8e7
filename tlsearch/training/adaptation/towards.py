"""Stages of a training batch that take images towards those of the source."""

from collections.abc import Callable
from functools import partial

import numpy as np
from torch import Tensor

from tlsearch.study.adaptation import Adaptation, Fourier, Moments
from tlsearch.study.seeds import derive_seed
from tlsearch.training.adaptation.moments import match_moments
from tlsearch.training.adaptation.spectrum import exchange_amplitudes
from tlsearch.training.batches import Pixels, unit_batch

_Transform = Callable[[Tensor, Tensor], Tensor]


class TowardsSource:
    """Takes each image towards a source image that is drawn from (seed, epoch, row): the same
    sample sees the same one whatever else is in its batch.
    """

    def __init__(
        self, transform: _Transform, *, source: Pixels, among: np.ndarray, seed: int
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
    """For each row one of `among` (M,), by lot from (seed, epoch, row)."""
    places = [derive_seed(seed, "adaptation", epoch, int(row)) % len(among) for row in rows]
    return among[np.array(places, dtype=np.int64)]


def stage_of(
    adaptation: Adaptation, *, source: Pixels, among: np.ndarray, seed: int
) -> TowardsSource | None:
    """The stage of an adaptation that is computed on the fly, by source images `among` all of
    `source`; None for one that changes nothing or is made beforehand.
    """
    transform: _Transform
    match adaptation:
        case Fourier(band=band, strength=strength) if band and strength:
            transform = partial(exchange_amplitudes, band=band, strength=strength)
        case Moments(strength=strength) if strength:
            transform = partial(match_moments, strength=strength)
        case _:
            return None
    return TowardsSource(transform, source=source, among=among, seed=seed)
