"""From stored uint8 pixels to normalised batches, in an order drawn from (seed, epoch)."""

import math
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.config.runtime import derive_seed
from tlsearch.config.schema import BackboneConfig
from tlsearch.config.strategy import ClassBalance, LossBalance, NoBalance, SamplingBalance


class Pixels(NamedTuple):
    """Images as they are stored: uint8 (N, H, W, C), C 1 or 3, perhaps memory-mapped; labels (N,).

    `mean` and `std` per channel, of pixels in 0 … 1, are those that the weights were trained with.
    """

    images: np.ndarray
    labels: np.ndarray
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    memory_format: torch.memory_format = torch.channels_last


def pixels_for(backbone: BackboneConfig, *, images: np.ndarray, labels: np.ndarray) -> Pixels:
    """Images (N, H, W, C) and labels (N,), normalised as the weights of a study's only network want
    it.
    """
    mean, std = backbone.normalisation_of(backbone.name)
    return Pixels(images, labels, mean, std)


def pixel_batch(pixels: Pixels, indices: np.ndarray, *, device: torch.device) -> Tensor:
    """Normalised float images (B, 3, H, W) in their order in memory; grey is repeated."""
    return normalised(unit_batch(pixels, indices, device=device), pixels)


def unit_batch(pixels: Pixels, indices: np.ndarray, *, device: torch.device) -> Tensor:
    """Float images (B, 3, H, W) in 0 … 1; grey is repeated."""
    picked = torch.from_numpy(np.ascontiguousarray(pixels.images[indices])).to(device)
    return picked.permute(0, 3, 1, 2).expand(-1, 3, -1, -1).to(torch.float32).div_(255)


def normalised(batch: Tensor, pixels: Pixels) -> Tensor:
    """Images (B, 3, H, W) in 0 … 1 as the network takes them, in their order in memory."""
    mean = torch.tensor(pixels.mean, device=batch.device).view(1, 3, 1, 1)
    std = torch.tensor(pixels.std, device=batch.device).view(1, 3, 1, 1)
    return batch.sub(mean).div(std).contiguous(memory_format=pixels.memory_format)


def label_batch(pixels: Pixels, indices: np.ndarray, *, device: torch.device) -> Tensor:
    """Class indices (B,) int64."""
    return torch.from_numpy(np.ascontiguousarray(pixels.labels[indices])).to(device)


def epoch_order(indices: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """The images of one epoch in their order; every trial with this seed sees the same."""
    return np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(indices)


STATE_LAYOUT = 6
"""Goes up when `Trainer.state` changes; older checkpoints then count as absent."""


class TrainingData(NamedTuple):
    """The images of a study and which of them train and validate; indices ascend. `weights` (N,)
    are of the training loss, or None for all alike.
    """

    pixels: Pixels
    train: np.ndarray
    validation: np.ndarray
    num_classes: int
    weights: np.ndarray | None


def fingerprint(data: TrainingData, *request: object) -> str:
    """Digest of the request; a state goes with no other, whatever the name of its file.

    `request` are values whose text says all of them, as a plan's does.
    """
    digest = blake2b(repr((STATE_LAYOUT, data.num_classes, *request)).encode(), digest_size=16)
    for rows in (data.train, data.validation):
        digest.update(rows.tobytes() + data.pixels.labels[rows].tobytes())
    if data.weights is not None:
        digest.update(data.weights[data.train].tobytes())
    return digest.hexdigest()


def loss_weights(
    weights: np.ndarray | None, labels: np.ndarray, train: np.ndarray, *, balance: ClassBalance
) -> Tensor | None:
    """Weights (N,) float32 of the training loss, their mean 1 over what an epoch draws; None for
    all alike.

    `weights` (N,) are the images' own, or None, and count within their class, whose number of
    images is their sum; `labels` (N,); `train` are rows.
    """
    if isinstance(balance, NoBalance):
        return None if weights is None else _of_mean_1(weights.astype(np.float64), train)
    if weights is None and isinstance(balance, SamplingBalance):
        return None
    own = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    own = own / own[train].mean()
    masses = np.bincount(labels[train], own[train], minlength=labels.max() + 1)
    drawn = labels[train][own[train] > 0]  # an image without weight is never drawn
    counts = np.bincount(drawn, minlength=labels.max() + 1)
    if isinstance(balance, LossBalance):
        return _of_mean_1(own * _class_weights(masses, balance.beta)[labels], train)
    means = np.divide(masses, counts, out=np.ones_like(masses), where=masses > 0)
    return torch.from_numpy((own / means[labels]).astype(np.float32))


def training_order(
    data: TrainingData, *, balance: ClassBalance, seed: int, epoch: int
) -> np.ndarray:
    """The rows that an epoch trains on, in their order."""
    if isinstance(balance, SamplingBalance):
        labels = data.pixels.labels
        return balanced_order(data.weights, labels, data.train, seed=seed, epoch=epoch)
    return epoch_order(data.train, seed=seed, epoch=epoch)


def draw_keys(order: np.ndarray, *, num_images: int) -> np.ndarray:
    """What views are drawn by: the row, and for an image that the epoch has had k times before
    row + k * `num_images`. Else an image that is drawn often would look the same each time.
    """
    by_row = np.argsort(order, kind="stable")
    places = np.arange(len(order))
    firsts = np.searchsorted(order[by_row], order[by_row])  # where each row's run begins
    earlier = np.empty(len(order), dtype=np.int64)
    earlier[by_row] = places - firsts
    return order + earlier * num_images


def balanced_order(
    weights: np.ndarray | None, labels: np.ndarray, train: np.ndarray, *, seed: int, epoch: int
) -> np.ndarray:
    """The rows of one epoch in their order: as many as `train`, each class as often, within one.

    A class's images all come as often, within one. Classes of no weight are not drawn. Every trial
    with this seed sees the same.
    """
    draw = np.random.default_rng(derive_seed(seed, "balanced order", epoch))
    known = train if weights is None else train[weights[train] > 0]
    classes = draw.permutation(np.unique(labels[known]))  # whose turn the remainder is
    size, extra = divmod(len(train), len(classes))
    drawn = [
        _in_turns(known[labels[known] == label], size + (place < extra), draw)
        for place, label in enumerate(classes)
    ]
    order: np.ndarray = draw.permutation(np.concatenate(drawn))
    return order


def _class_weights(masses: np.ndarray, beta: float) -> np.ndarray:
    """(1 - beta) / (1 - beta^n) of each class, up to a factor; 1 / n for beta 1."""
    there = masses > 0
    numbers = np.where(there, masses, 1.0)
    if beta == 1:
        return np.where(there, 1 / numbers, 0.0)
    # expm1: 1 - beta^n would lose its digits where beta is nearly 1.
    lost = np.log(beta) if beta > 0 else -np.inf
    return np.where(there, -1 / np.expm1(numbers * lost), 0.0)


def _of_mean_1(weights: np.ndarray, train: np.ndarray) -> Tensor:
    return torch.from_numpy((weights / weights[train].mean()).astype(np.float32))


def _in_turns(rows: np.ndarray, num: int, draw: np.random.Generator) -> np.ndarray:
    """`num` of these rows, each as often as any other, within one."""
    whole, rest = divmod(num, len(rows))
    return np.concatenate([np.tile(rows, whole), draw.permutation(rows)[:rest]])


EXPLODED_LOSS = 100.0
"""A batch loss this many times that of guessing, ln(classes), counts as diverged. A guess: rates
that recovered stayed far below it on the networks tried."""


def largest_loss(num_classes: int, weights: Tensor | None) -> float:
    """The largest loss of a batch, its images of these weights (B,), that counts as no divergence;
    a heavy image alone is no explosion.
    """
    heaviest = 1.0 if weights is None else max(1.0, float(weights.max()))
    return EXPLODED_LOSS * math.log(max(num_classes, 2)) * heaviest
