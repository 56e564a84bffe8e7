"""What a network sees of a training batch: pixels through all stages, and whose labels count."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from tlsearch.config.augmentation import (
    Augmentation,
    BasicAugmentation,
    CutMix,
    Mixup,
    NoAttack,
    NoAugmentation,
    NoMixing,
)
from tlsearch.config.runtime import derive_seed
from tlsearch.config.strategy import Strategy
from tlsearch.training.adversarial import Adversary
from tlsearch.training.feature_cache import Forward
from tlsearch.training.image_transforms import (
    Moves,
    brightened,
    contrasted,
    crop_sides,
    flipped,
    hue_shifted,
    sampling_matrices,
    saturated,
    warped,
)

# Two images made into one, and how much of each label the outcome bears.


class Mixed(NamedTuple):
    """Images (B, 3, H, W) that are `share` of the batch's own and the rest of `partners` (B,),
    rows of the data set, or None where nothing is mixed.
    """

    images: Tensor
    partners: np.ndarray | None
    share: float


class Mixing:
    """Mixes each image of a batch with the one before it, by one share for the whole batch.

    The order of a batch is random, so neighbours are as good as any pair, and none meets itself.
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


# What happens to the pixels of a training batch, stage by stage, and where chance comes from.


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


# Flips, rotation, shift, shear, zoom, crop and colour: the augmentation that most recipes mean.


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


# From a strategy to the stages of its images.


def make_stages(
    strategy: Strategy, *, mean: tuple[float, float, float], seed: int
) -> tuple[Stage, ...]:
    """Augmentation, then erasing; none where a strategy has neither.

    A box is erased to `mean`, the mean colour of the images that the weights were trained with, so
    that the network sees zeros there.
    Source: random erasing, arXiv:1708.04896, with torchvision's sizes.
    """
    stages: list[Stage] = []
    if not isinstance(strategy.augmentation, NoAugmentation):
        stages.append(_augmentation(strategy.augmentation, seed))
    if strategy.erasing:
        erase = v2.RandomErasing(p=strategy.erasing, value=list(mean))
        stages.append(PerImage(erase, seed=seed, stage="erasing"))
    return tuple(stages)


def _augmentation(chosen: Augmentation, seed: int) -> Stage:
    if isinstance(chosen, BasicAugmentation):
        return Basic(chosen, seed=seed)
    build: Any = getattr(v2, chosen.torchvision_name)
    transform = build(interpolation=InterpolationMode.BILINEAR, **chosen.arguments())
    return PerImage(transform, seed=seed, stage="augmentation")


def changes_images(strategy: Strategy, adaptation: Stage | None) -> bool:
    """Whether the network sees anything but the stored images in training."""
    choices = (strategy.augmentation, strategy.mixing, strategy.adversarial)
    nothing = (NoAugmentation, NoMixing, NoAttack)
    plain = all(isinstance(c, n) for c, n in zip(choices, nothing, strict=True))
    return not plain or strategy.erasing > 0 or adaptation is not None


class View(NamedTuple):
    """Class scores (B, K) of a batch; of each label `share` is that of `rows`, (B,) of the data
    set, and the rest that of `partners`, None where nothing is mixed.
    """

    logits: Tensor
    rows: np.ndarray
    partners: np.ndarray | None
    share: float

    @property
    def heavier(self) -> np.ndarray:
        """The rows (B,) with the larger part in each image."""
        return self.rows if self.partners is None or self.share >= 0.5 else self.partners


class Views:
    """Makes the batches of a training: adapted, augmented, erased, mixed, attacked, normalised.

    Without any of these, batches go the short way, through kept activations where there are some.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        strategy: Strategy,
        adaptation: Stage | None,
        num_classes: int,
        seed: int,
    ) -> None:
        self._forward, self._num_classes = forward, num_classes
        self._stages: tuple[Stage, ...] = make_stages(strategy, mean=forward.mean, seed=seed)
        self._adaptation = () if adaptation is None else (adaptation,)
        self._mixing = self._adversary = None
        if not isinstance(strategy.mixing, NoMixing):
            self._mixing = Mixing(strategy.mixing, seed=seed)
        if not isinstance(strategy.adversarial, NoAttack):
            model, logits = forward.backbone.model, forward.logits_of
            self._adversary = Adversary(strategy.adversarial, model=model, logits=logits, seed=seed)
        self.is_plain = not changes_images(strategy, adaptation)

    def see(self, rows: np.ndarray, keys: np.ndarray, *, epoch: int) -> View:
        """Scores of a batch in training mode; gradients flow through the open groups alone. Views
        are drawn by `keys`, (B,): the rows, or numbers beyond them for an image's further views.
        """
        if self.is_plain:
            return View(self._forward.logits(rows), rows, None, 1.0)
        images, partners, share = self.images(rows, keys, epoch=epoch)
        return View(self._forward.logits_of(images), rows, partners, share)

    def images(self, rows: np.ndarray, keys: np.ndarray, *, epoch: int) -> Mixed:
        """Images in 0 … 1 as the network gets them but for the normalisation."""
        images = through(self._adaptation, self._forward.unit_images(rows), rows, epoch=epoch)
        images = through(self._stages, images, keys, epoch=epoch)
        mixed = Mixed(images, None, 1.0)
        if self._mixing is not None:
            mixed = self._mixing(images, rows, epoch=epoch)
        if self._adversary is None:
            return mixed
        targets = self._targets(rows, mixed)
        return mixed._replace(images=self._adversary(mixed.images, targets, rows, epoch=epoch))

    def _targets(self, rows: np.ndarray, mixed: Mixed) -> Tensor:
        """Classes (B,), or their shares (B, K) where images are mixed."""
        labels = self._forward.labels(rows)
        if mixed.partners is None:
            return labels
        others = self._forward.labels(mixed.partners)
        own, others = (F.one_hot(of, self._num_classes).float() for of in (labels, others))
        return mixed.share * own + (1 - mixed.share) * others
