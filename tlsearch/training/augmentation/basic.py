"""Flips, rotation, shift, shear, zoom, crop and colour: the augmentation that most recipes mean."""

import numpy as np
import torch
from torch import Tensor

from tlsearch.study.augmentation import BasicAugmentation
from tlsearch.training.augmentation.colour import (
    brightened,
    contrasted,
    hue_shifted,
    saturated,
)
from tlsearch.training.augmentation.geometry import (
    Moves,
    crop_sides,
    flipped,
    sampling_matrices,
    warped,
)
from tlsearch.training.augmentation.stages import uniform_draws

HUE_SHARE = 0.25
"""Hue moves by this part of the colour strength, in turns: 0.8 to 0.2 in SimCLR
(arXiv:2002.05709), and 0.4 to 0.1 in many recipes for ImageNet."""

_STAGE, _NUM_DRAWS = "augmentation", 15


class Basic:
    """A `Stage`. Each image draws the same numbers whatever the strengths are, so that two
    strategies which differ in one of them see views that differ in nothing else.
    """

    def __init__(self, chosen: BasicAugmentation, *, seed: int) -> None:
        self._chosen, self._seed = chosen, seed
        c = chosen
        self._is_moved = any((c.rotation, c.shift, c.shear, c.zoom)) or c.crop < 1

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The view of each image."""
        draws = uniform_draws(rows, seed=self._seed, stage=_STAGE, epoch=epoch, count=_NUM_DRAWS)
        left_right, upside_down, *moved = draws[:, :11].T
        chosen = self._chosen
        images = flipped(images, left_right < chosen.flip, upside_down < chosen.vertical_flip)
        if self._is_moved:
            height, width = images.shape[2:]
            matrices = sampling_matrices(self._moves(moved), height=height, width=width)
            images = warped(images, matrices)
        if chosen.colour:
            images = self._recoloured(images, draws[:, 11:])
        return images

    def _moves(self, draws: list[np.ndarray]) -> Moves:
        c = self._chosen
        turn, shear, zoom, shift_x, shift_y, area, aspect, crop_x, crop_y = draws
        crop_width, crop_height = crop_sides(1 - (1 - c.crop) * area, _either_way(aspect, 1))
        if c.crop == 1:  # the whole image, whatever ratio was drawn
            crop_width = crop_height = np.ones(len(area))
        return Moves(
            rotation=np.radians(_either_way(turn, c.rotation)),
            shear=np.radians(_either_way(shear, c.shear)),
            zoom=1 + _either_way(zoom, c.zoom),
            shift_x=_either_way(shift_x, c.shift),
            shift_y=_either_way(shift_y, c.shift),
            crop_width=crop_width,
            crop_height=crop_height,
            crop_x=crop_x,
            crop_y=crop_y,
        )

    def _recoloured(self, images: Tensor, draws: np.ndarray) -> Tensor:
        """In one fixed order; torchvision's ColorJitter draws an order as well."""
        strength = self._chosen.colour
        offsets = torch.from_numpy(_either_way(draws, strength).astype(np.float32))
        brightness, contrast, saturation, hue = offsets.to(images.device).unbind(dim=1)
        images = brightened(images, 1 + brightness)
        images = contrasted(images, 1 + contrast)
        images = saturated(images, 1 + saturation)
        return hue_shifted(images, HUE_SHARE * hue)


def _either_way(draws: np.ndarray, strength: float) -> np.ndarray:
    """From [0, 1) to [-strength, strength)."""
    return strength * (2 * draws - 1)
