"""From stored uint8 pixels to normalised batches, in an order drawn from (seed, epoch)."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.study.seeds import derive_seed


class Pixels(NamedTuple):
    """Images as they are stored: uint8 (N, H, W, C), C 1 or 3, perhaps memory-mapped; labels (N,).

    `mean` and `std` per channel, of pixels in 0 … 1, are those that the weights were trained with.
    """

    images: np.ndarray
    labels: np.ndarray
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def pixel_batch(pixels: Pixels, indices: np.ndarray, *, device: torch.device) -> Tensor:
    """Normalised float images (B, 3, H, W) in channels-last order; grey is repeated."""
    return normalised(unit_batch(pixels, indices, device=device), pixels)


def unit_batch(pixels: Pixels, indices: np.ndarray, *, device: torch.device) -> Tensor:
    """Float images (B, 3, H, W) in 0 … 1; grey is repeated."""
    picked = torch.from_numpy(np.ascontiguousarray(pixels.images[indices])).to(device)
    return picked.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).to(torch.float32).div_(255)


def normalised(batch: Tensor, pixels: Pixels) -> Tensor:
    """Images (B, 3, H, W) in 0 … 1 as the network takes them, in channels-last order."""
    mean = torch.tensor(pixels.mean, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(pixels.std, device=batch.device).view(1, 3, 1, 1)
    return batch.sub(mean).div(std).contiguous(memory_format=torch.channels_last)


def label_batch(pixels: Pixels, indices: np.ndarray, *, device: torch.device) -> Tensor:
    """Class indices (B,) int64."""
    return torch.from_numpy(np.ascontiguousarray(pixels.labels[indices])).to(device)


def epoch_order(indices: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The images of one epoch in their order; every trial with this seed sees the same."""
    return np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(indices)
