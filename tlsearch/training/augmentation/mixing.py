"""Two images made into one, and how much of each label the outcome bears."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.study.augmentation import CutMix, Mixup, NoMixing
from tlsearch.study.augmentation import Mixing as MixingChoice
from tlsearch.study.seeds import derive_seed


class Mixed(NamedTuple):
    """Images (B, 3, H, W) that are `share` of the batch's own and the rest of `partners` (B,),
    rows of the data set.
    """

    images: Tensor
    partners: np.ndarray
    share: float


class Mixing:
    """Mixes each image of a batch with the one before it, by one share for the whole batch.

    The order of a batch is by lot, so neighbours are as good as any pair, and none meets itself.
    The share is drawn from (seed, epoch, first row). torchvision's MixUp and CutMix pair alike, but
    give back labels alone, and weighted images need the share.
    Source: mixup, arXiv:1710.09412; CutMix, arXiv:1905.04899.
    """

    def __init__(self, chosen: Mixup | CutMix, *, seed: int) -> None:
        self._chosen, self._seed = chosen, seed

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Mixed:
        """The batch, mixed; what came in stays as it is."""
        draw = np.random.default_rng(derive_seed(self._seed, "mixing", epoch, int(rows[0])))
        share = float(draw.beta(self._chosen.alpha, self._chosen.alpha))
        partners, others = np.roll(rows, 1), images.roll(1, 0)
        if isinstance(self._chosen, Mixup):
            return Mixed(torch.lerp(others, images, share), partners, share)
        top, bottom, left, right = _box(draw, 1 - share, *images.shape[2:])
        pasted = images.clone()
        pasted[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
        covered = (bottom - top) * (right - left) / (images.shape[2] * images.shape[3])
        return Mixed(pasted, partners, 1 - covered)


def make_mixing(chosen: MixingChoice, *, seed: int) -> Mixing | None:
    """What mixes a strategy's batches; None where nothing does."""
    return None if isinstance(chosen, NoMixing) else Mixing(chosen, seed=seed)


def _box(
    draw: np.random.Generator, area: float, height: int, width: int
) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box with a share of the area around any point, cut to the
    image.
    """
    half = np.sqrt(area) / 2
    y, x = draw.integers(height), draw.integers(width)
    top, bottom = np.clip([int(y - half * height), int(y + half * height)], 0, height)
    left, right = np.clip([int(x - half * width), int(x + half * width)], 0, width)
    return int(top), int(bottom), int(left), int(right)
