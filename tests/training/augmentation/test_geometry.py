"""The warp against flips and turns of whole pixels, and against torchvision's."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as vision

from tlsearch.training.image_transforms import ASPECT, Moves, crop_sides, sampling_matrices, warped

SIZE = 24


def moves(**changes: float) -> Moves:
    still = dict.fromkeys(Moves._fields, 0.0)
    still |= {"zoom": 1.0, "crop_width": 1.0, "crop_height": 1.0, "crop_x": 0.5, "crop_y": 0.5}
    return Moves(**{name: np.array([value]) for name, value in {**still, **changes}.items()})


def view(images: Tensor, **changes: float) -> Tensor:
    height, width = images.shape[2:]
    return warped(images, sampling_matrices(moves(**changes), height=height, width=width))


@pytest.fixture
def images() -> Tensor:
    draw = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return vision.gaussian_blur(draw, [5, 5])


def test_nothing_moves_nothing(images: Tensor) -> None:
    torch.testing.assert_close(view(images), images, atol=1e-5, rtol=0)


def test_turns_and_shifts_of_whole_pixels(images: Tensor) -> None:
    quarter = view(images, rotation=math.pi / 2)
    torch.testing.assert_close(quarter, images.rot90(-1, (2, 3)), atol=1e-4, rtol=0)
    right, down = view(images, shift_x=3 / SIZE), view(images, shift_y=3 / SIZE)
    torch.testing.assert_close(right[..., 3:], images[..., :-3], atol=1e-4, rtol=0)
    torch.testing.assert_close(down[:, :, 3:], images[:, :, :-3], atol=1e-4, rtol=0)
    # What comes in from beyond the edge is the image mirrored there.
    torch.testing.assert_close(right[..., :3], images[..., :3].flip(3), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("changes", "asked"),
    [
        ({"rotation": 20.0}, {"angle": 20.0}),
        ({"rotation": -65.0}, {"angle": -65.0}),
        ({"shear": 15.0}, {"shear": [15.0, 0.0]}),
        ({"zoom": 1.3}, {"scale": 1.3}),
        ({"zoom": 0.8}, {"scale": 0.8}),
        (
            {"rotation": 25.0, "shear": -10.0, "zoom": 0.9, "shift_x": 2 / 24, "shift_y": -3 / 24},
            {"angle": 25.0, "shear": [-10.0, 0.0], "scale": 0.9, "translate": [2, -3]},
        ),
    ],
)
def test_moves_as_torchvision_has_them(
    images: Tensor, changes: dict[str, float], asked: dict[str, Any]
) -> None:
    radians = {k: math.radians(v) if k in ("rotation", "shear") else v for k, v in changes.items()}
    settings = {"angle": 0.0, "translate": [0, 0], "scale": 1.0, "shear": [0.0, 0.0], **asked}
    expected = vision.affine(images, **settings, interpolation=InterpolationMode.BILINEAR)
    inside = vision.affine(torch.ones_like(images), **settings) == 1
    # Two pixels in from torchvision's black corners, with which it blends the edge.
    inside = -torch.nn.functional.max_pool2d(-inside.float(), 5, 1, 2) == 1
    assert inside.double().mean() > 0.3
    found = view(images, **radians)
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-3, rtol=0)


@pytest.mark.parametrize(("place", "corner"), [((0, 0), (0, 0)), ((1, 1), (12, 12))])
def test_a_crop_is_a_part_of_the_image_enlarged(
    images: Tensor, place: tuple[int, int], corner: tuple[int, int]
) -> None:
    found = view(images, crop_width=0.5, crop_height=0.5, crop_x=place[1], crop_y=place[0])
    top, left = corner
    part = images[:, :, top : top + 12, left : left + 12]
    expected = vision.resize(part, [SIZE, SIZE], antialias=False)
    # At the crop's own border we look beyond it, and resizing does not.
    torch.testing.assert_close(found[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-4, rtol=0)


def test_a_turn_keeps_angles_where_sides_differ() -> None:
    """A vertical line, turned by a quarter in a wide image, is as wide as it was high."""
    image = torch.zeros(1, 3, 20, 40)
    image[..., 5:15, 19:21] = 1
    found = view(image, rotation=math.pi / 2)
    expected = torch.zeros_like(image)
    expected[..., 9:11, 15:25] = 1
    # Farther out, where there was no image, it is mirrored.
    torch.testing.assert_close(found[..., 10:30], expected[..., 10:30], atol=1e-4, rtol=0)


def test_sides_of_crops() -> None:
    width, height = crop_sides(np.array([0.25, 0.25, 0.25, 1.0, 0.9]), np.array([0, 1, -1, 1, 1]))
    np.testing.assert_allclose(width * height, [0.25, 0.25, 0.25, 1.0, 0.9])
    np.testing.assert_allclose(width / height, [1, ASPECT, 1 / ASPECT, 1, 1 / 0.9])
    assert max(width.max(), height.max()) <= 1 + 1e-12
