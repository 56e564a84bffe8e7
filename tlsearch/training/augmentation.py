"""What a network sees of a training batch: pixels through all stages, and whose labels count."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from tlsearch.config.augmentation import (
    BasicAugmentation,
    CutMix,
    Mixing,
    Mixup,
    NoAttack,
    NoAugmentation,
    NoMixing,
)
from tlsearch.config.runtime import derive_seed
from tlsearch.config.strategy import Strategy
from tlsearch.training.adversarial import Adversary
from tlsearch.training.feature_cache import Forward


class Mixed(NamedTuple):
    """Images (B, 3, H, W) that are `share` of the batch's own and the rest of `partners` (B,),
    rows of the data set, or None where nothing is mixed.
    """

    images: Tensor
    partners: np.ndarray | None
    share: float


def _blended(
    images: Tensor, others: Tensor, share: float, _: np.random.Generator
) -> tuple[Tensor, float]:
    """Weighted means of two images each. Source: mixup, arXiv:1710.09412."""
    return torch.lerp(others, images, share), share


def _pasted(
    images: Tensor, others: Tensor, share: float, draw: np.random.Generator
) -> tuple[Tensor, float]:
    """Images with a box of the others around any point, which leaves `share` of the area, or more
    where it is cut to the image. Source: CutMix, arXiv:1905.04899.
    """
    height, width = images.shape[2:]
    half = np.sqrt(1 - share) / 2
    y, x = draw.integers(height), draw.integers(width)
    top, bottom = np.clip([int(y - half * height), int(y + half * height)], 0, height)
    left, right = np.clip([int(x - half * width), int(x + half * width)], 0, width)
    pasted = images.clone()
    pasted[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return pasted, 1 - float((bottom - top) * (right - left) / (height * width))


MIXERS: Mapping[
    type[Mixing], Callable[[Tensor, Tensor, float, np.random.Generator], tuple[Tensor, float]]
] = {Mixup: _blended, CutMix: _pasted}
"""What joins images with others, and the share of their own that is left then."""


def mixed(
    chosen: Mixup | CutMix, images: Tensor, rows: np.ndarray, *, epoch: int, seed: int
) -> Mixed:
    """Each image of a batch joined with the one before it, by one share for the whole batch, which
    is drawn from (seed, epoch, first row). What comes in stays as it is.

    The order of a batch is random, so neighbours are as good as any pair, and none meets itself.
    torchvision's MixUp and CutMix pair alike, but give back labels alone, and weighted images need
    the share.
    """
    draw = np.random.default_rng(derive_seed(seed, "mixing", epoch, int(rows[0])))
    share = float(draw.beta(chosen.alpha, chosen.alpha))
    joined, left = MIXERS[type(chosen)](images, images.roll(1, 0), share, draw)
    return Mixed(joined, np.roll(rows, 1), left)


class Stage(Protocol):
    """One step from stored images to what a network trains on.

    images: float (B, 3, H, W) in 0 … 1, before normalisation, which stay as they are; rows: (B,)
    of the data set, or numbers beyond them for further views of an image. The answer has the same
    shape, type and range. All chance is drawn from (seed, epoch, row), so an image has the same
    view in any batch and in every trial of a study.
    """

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The view of each image."""


class PerImage:
    """A transformation of torchvision's on one image after the other.

    Those draw from torch's generator on the CPU, which is set for each image and restored: dropout
    goes on as if nothing had been drawn.
    """

    def __init__(self, transform: Callable[[Tensor], Tensor], *, seed: int, stage: str) -> None:
        self._transform, self._seed, self._stage = transform, seed, stage

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The view of each image."""
        views = []
        with torch.random.fork_rng(devices=[]):
            for image, row in zip(images, rows, strict=True):
                chance = derive_seed(self._seed, self._stage, epoch, int(row))
                # Not torch.manual_seed, which would reach the generators of GPUs as well.
                torch.default_generator.manual_seed(chance)
                views.append(self._transform(image))
        return torch.stack(views).clamp_(0, 1)


def through(stages: Sequence[Stage], images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
    """Images (B, 3, H, W) through all stages in order."""
    for stage in stages:
        images = stage(images, rows, epoch=epoch)
    return images


HUE_SHARE = 0.25
"""Hue moves by this part of the colour strength, in turns: 0.8 to 0.2 in SimCLR
(arXiv:2002.05709), and 0.4 to 0.1 in many recipes for ImageNet."""

ASPECT = 4 / 3
"""Largest ratio of a crop's sides, as in torchvision's RandomResizedCrop (arXiv:1409.4842)."""


class Basic:
    """A `Stage`: flips, rotation, shift, shear, zoom, crop and colour. Each image draws the same
    numbers whatever the strengths are, so that two strategies which differ in one of them see views
    that differ in nothing else.
    """

    def __init__(self, chosen: BasicAugmentation, *, seed: int) -> None:
        self._chosen, self._seed = chosen, seed

    def __call__(self, images: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """The view of each image."""
        chances = (derive_seed(self._seed, "augmentation", epoch, int(row)) for row in rows)
        draws = np.stack([np.random.default_rng(chance).random(15) for chance in chances])
        c = self._chosen
        images = flipped(images, draws[:, 0] < c.flip, draws[:, 1] < c.vertical_flip)
        if any((c.rotation, c.shift, c.shear, c.zoom)) or c.crop < 1:
            images = self._moved(images, draws[:, 2:11])
        if c.colour:
            images = self._recoloured(images, draws[:, 11:])
        return images

    def _moved(self, images: Tensor, draws: np.ndarray) -> Tensor:
        c = self._chosen
        turn, shear, zoom, _, _, area, aspect, *_ = draws.T
        crop = crop_sides(1 - (1 - c.crop) * area, _either_way(aspect, 1))
        if c.crop == 1:  # the whole image, whatever ratio was drawn
            crop = np.ones_like(crop)
        matrices = sampling_matrices(
            rotation=np.radians(_either_way(turn, c.rotation)),
            shear=np.radians(_either_way(shear, c.shear)),
            zoom=1 + _either_way(zoom, c.zoom),
            shift=_either_way(draws[:, 3:5], c.shift),
            crop=crop,
            place=draws[:, 7:9],
            height=images.shape[2],
            width=images.shape[3],
        )
        return warped(images, matrices)

    def _recoloured(self, images: Tensor, draws: np.ndarray) -> Tensor:
        """In one fixed order; torchvision's ColorJitter draws an order as well."""
        offsets = torch.from_numpy(_either_way(draws, self._chosen.colour).astype(np.float32))
        brightness, contrast, saturation, hue = offsets.to(images.device).unbind(dim=1)
        images = blended(images, 0, 1 + brightness)
        images = blended(images, grey_of(images).mean(dim=(1, 2, 3), keepdim=True), 1 + contrast)
        images = blended(images, grey_of(images), 1 + saturation)
        return hue_shifted(images, HUE_SHARE * hue)


def _either_way(draws: np.ndarray, strength: float) -> np.ndarray:
    """From [0, 1) to [-strength, strength)."""
    return strength * (2 * draws - 1)


def crop_sides(area: np.ndarray, aspect: np.ndarray) -> np.ndarray:
    """Width and height (B, 2), in shares of the sides, of crops with these shares of the area;
    aspect -1 … 1 stands for ratios of 1 / ASPECT … ASPECT. One that would not fit keeps its area.
    """
    ratio = np.clip(ASPECT**aspect, area, 1 / area)
    return np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)], axis=-1)


def flipped(images: Tensor, left_right: np.ndarray, upside_down: np.ndarray) -> Tensor:
    """Images (B, C, H, W) with those flipped for which (B,) says so; no pixel changes its value."""
    for chosen, axis in ((left_right, 3), (upside_down, 2)):
        if chosen.any():
            where = torch.from_numpy(chosen).to(images.device).view(-1, 1, 1, 1)
            images = torch.where(where, images.flip(axis), images)
    return images


def sampling_matrices(
    *,
    rotation: np.ndarray,
    shear: np.ndarray,
    zoom: np.ndarray,
    shift: np.ndarray,
    crop: np.ndarray,
    place: np.ndarray,
    height: int,
    width: int,
) -> np.ndarray:
    """Matrices (B, 2, 3) from places in the view to places in the image, both -1 … 1 along x and y.

    The view is a crop of the moved image. About its middle, and in the order of torchvision's
    `affine`, an image is sheared along x, zoomed, rotated and shifted: angles (B,) in radians,
    clockwise; `zoom` (B,) above 1 enlarges; `shift` (B, 2) in shares of the sides. `crop` (B, 2) of
    the sides are kept around a point that is `place` (B, 2) of the way from the left and upper end
    of where it may lie.
    """
    cos, sin, tan = np.cos(rotation), np.sin(rotation), np.tan(shear)
    # In pixels: turns keep angles where the sides differ. The inverse of rotation times shear.
    turn = np.stack([cos - sin * tan, sin + cos * tan, -sin, cos], axis=-1).reshape(-1, 2, 2)
    half = np.array([width, height]) / 2
    inverse = turn / zoom[:, None, None] * half[None, None, :] / half[None, :, None]
    centre = (2 * place - 1) * (1 - crop)
    offset = np.einsum("bij,bj->bi", inverse, centre - 2 * shift)
    return np.concatenate([inverse * crop[:, None, :], offset[:, :, None]], axis=-1)


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


def blended(images: Tensor, towards: Tensor | float, factor: Tensor) -> Tensor:
    """Differences of images (B, 3, H, W) to `towards`, each image's times its factor (B,).

    Towards 0 this is torchvision's `adjust_brightness`, towards the mean grey its contrast, towards
    each pixel's grey its saturation. Those take one factor for all images: one after the other they
    would keep a GPU waiting.
    """
    factor = factor.view(-1, 1, 1, 1)
    return (factor * images + (1 - factor) * towards).clamp_(0, 1)


def grey_of(images: Tensor) -> Tensor:
    """Brightness (B, 1, H, W) of images (B, 3, H, W) by ITU-R BT.601, as torchvision rounds it."""
    weights = torch.tensor((0.2989, 0.587, 0.114), device=images.device, dtype=images.dtype)
    return (images * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


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


def make_stages(
    strategy: Strategy, *, mean: tuple[float, float, float], seed: int
) -> tuple[Stage, ...]:
    """Augmentation, then erasing; none where a strategy has neither.

    A box is erased to `mean`, the mean colour of the images that the weights were trained with, so
    that the network sees zeros there.
    Source: random erasing, arXiv:1708.04896, with torchvision's sizes.
    """
    stages: list[Stage] = []
    chosen = strategy.augmentation
    if isinstance(chosen, BasicAugmentation):
        stages.append(Basic(chosen, seed=seed))
    elif not isinstance(chosen, NoAugmentation):
        build: Any = getattr(v2, chosen.torchvision_name)
        transform = build(interpolation=InterpolationMode.BILINEAR, **vars(chosen))
        stages.append(PerImage(transform, seed=seed, stage="augmentation"))
    if strategy.erasing:
        erase = v2.RandomErasing(p=strategy.erasing, value=list(mean))
        stages.append(PerImage(erase, seed=seed, stage="erasing"))
    return tuple(stages)


def changes_images(strategy: Strategy, adaptation: Stage | None) -> bool:
    """Whether the network sees anything but the stored images in training."""
    return strategy.changes_images or adaptation is not None


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
        self._stages = make_stages(strategy, mean=forward.pixels.mean, seed=seed)
        self._adaptation = () if adaptation is None else (adaptation,)
        self._mixing, self._seed = strategy.mixing, seed
        self._adversary = None
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
        found = Mixed(images, None, 1.0)
        if not isinstance(self._mixing, NoMixing):
            found = mixed(self._mixing, images, rows, epoch=epoch, seed=self._seed)
        if self._adversary is None:
            return found
        targets = self._targets(rows, found)
        return found._replace(images=self._adversary(found.images, targets, rows, epoch=epoch))

    def _targets(self, rows: np.ndarray, mixed: Mixed) -> Tensor:
        """Classes (B,), or their shares (B, K) where images are mixed."""
        labels = self._forward.labels(rows)
        if mixed.partners is None:
            return labels
        others = self._forward.labels(mixed.partners)
        own, others = (F.one_hot(of, self._num_classes).float() for of in (labels, others))
        return mixed.share * own + (1 - mixed.share) * others
