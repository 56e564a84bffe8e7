"""Colours against torchvision's own, image by image."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as vision

from tlsearch.training.image_transforms import brightened, contrasted, hue_shifted, saturated

FACTORS = torch.tensor([0.0, 0.4, 1.0, 1.7])
TURNS = torch.tensor([-0.25, 0.0, 0.1, 0.5])


@pytest.mark.parametrize(
    ("ours", "theirs", "factors"),
    [
        (brightened, vision.adjust_brightness, FACTORS),
        (contrasted, vision.adjust_contrast, FACTORS),
        (saturated, vision.adjust_saturation, FACTORS),
        (hue_shifted, vision.adjust_hue, TURNS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_as_torchvision_has_it(
    ours: Callable[[Tensor, Tensor], Tensor],
    theirs: Callable[[Tensor, float], Tensor],
    factors: Tensor,
) -> None:
    images = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    images[:, :, 0, :3] = torch.eye(3)  # pure red, green and blue
    images[:, :, 1] = 0.3  # grey has no hue
    found = ours(images, factors)
    expected = [theirs(image, float(f)) for image, f in zip(images, factors, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), atol=2e-5, rtol=0)


def test_hue_leaves_grey_as_it_is() -> None:
    grey = torch.rand(4, 1, 5, 5).expand(-1, 3, -1, -1)
    torch.testing.assert_close(hue_shifted(grey, TURNS), grey)
