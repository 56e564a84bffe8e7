"""From a strategy to the stages of its images."""

from typing import Any

from torchvision.transforms import InterpolationMode, v2

from tlsearch.study.augmentation import (
    Augmentation,
    BasicAugmentation,
    NoAugmentation,
    RandAugment,
    TrivialAugment,
)
from tlsearch.study.strategy import Strategy
from tlsearch.training.augmentation.basic import Basic
from tlsearch.training.augmentation.stages import PerImage, Stage


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
    transform: Any
    match chosen:
        case TrivialAugment():
            transform = v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR)
        case RandAugment(num_ops=num_ops, magnitude=magnitude):
            transform = v2.RandAugment(
                num_ops=num_ops, magnitude=magnitude, interpolation=InterpolationMode.BILINEAR
            )
        case _:
            raise AssertionError(f"{chosen} is no augmentation")
    return PerImage(transform, seed=seed, stage="augmentation")
