"""What happens to the pixels of a training batch, stage by stage, and where chance comes from."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from tlsearch.study.seeds import derive_seed


class Stage(Protocol):
    """One step from stored images to what a network trains on.

    images: float (B, 3, H, W) in 0 … 1, before normalisation, which stay as they are; rows: (B,)
    of the data set, or numbers beyond them for further views of an image. The answer has the same
    shape, type and range. All chance is drawn from (seed, epoch, row), so an image has the same
    view in any batch and in every trial of a study.
    """

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The view of each image."""


def uniform_draws(rows: np.ndarray, *, seed: int, stage: str, epoch: int, count: int) -> np.ndarray:
    """Numbers (B, count) in [0, 1), of each row its own."""
    streams = (
        np.random.default_rng(derive_seed(seed, stage, epoch, int(row))).random(count)
        for row in rows
    )
    return np.stack(list(streams))


class PerImage:
    """A transformation of torchvision's on one image after the other.

    Those draw from torch's generator on the CPU, which is set for each image and restored: dropout
    goes on as if nothing had been drawn.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor], *, seed: int, stage: str) -> None:
        self._transform, self._seed, self._stage = transform, seed, stage

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The view of each image."""
        return torch.stack(list(self._views(images, rows, epoch))).clamp_(0, 1)

    def _views(self, images: Tensor, rows: np.ndarray, epoch: int) -> Iterator[Tensor]:
        with _generator_restored():
            for image, row in zip(images, rows, strict=True):
                chance = derive_seed(self._seed, self._stage, epoch, int(row))
                # Not torch.manual_seed, which would reach the generators of GPUs as well.
                torch.default_generator.manual_seed(chance)
                yield self._transform(image)


def through(stages: Sequence[Stage], images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
    """Images (B, 3, H, W) through all stages in order."""
    for stage in stages:
        images = stage(images, rows, epoch=epoch)
    return images


@contextmanager
def _generator_restored() -> Iterator[None]:
    before = torch.default_generator.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(before)
