"""Every augmentation, for tests that hold for all of them."""

from collections.abc import Mapping
from typing import Any

from tlsearch.config.augmentation import BasicAugmentation, RandAugment, TrivialAugment

STILL = BasicAugmentation(
    flip=0.0,
    vertical_flip=0.0,
    rotation=0.0,
    shift=0.0,
    shear=0.0,
    zoom=0.0,
    crop=1.0,
    colour=0.0,
)
STRONG = BasicAugmentation(
    flip=0.5,
    vertical_flip=0.5,
    rotation=30.0,
    shift=0.2,
    shear=20.0,
    zoom=0.3,
    crop=0.3,
    colour=0.8,
)
STAGES: Mapping[str, dict[str, Any]] = {
    "basic": {"augmentation": STRONG},
    "trivial": {"augmentation": TrivialAugment()},
    "randaugment": {"augmentation": RandAugment(num_ops=2, magnitude=15)},
    "erasing": {"erasing": 0.9},
    "trivial and erasing": {"augmentation": TrivialAugment(), "erasing": 0.5},
}
"""Changes to a strategy that make each kind of stage."""
