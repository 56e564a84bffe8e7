"""How unequal classes come to count alike: by weights in the loss, or by how they are drawn.

Per-image weights count within their class: its number of images is the sum of their weights.
"""

import numpy as np
import torch
from torch import Tensor

from tlsearch.study.fine_tuning import ClassBalance, LossBalance, NoBalance, SamplingBalance
from tlsearch.study.seeds import derive_seed
from tlsearch.training.batches import epoch_order
from tlsearch.training.request import TrainingData


def loss_weights(
    weights: np.ndarray | None, labels: np.ndarray, train: np.ndarray, *, balance: ClassBalance
) -> Tensor | None:
    """Weights (N,) float32 of the training loss, their mean 1 over what an epoch draws; None for
    all alike.

    `weights` (N,) are the images' own, or None; `labels` (N,); `train` are rows.
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
    classes = draw.permutation(np.unique(labels[known]))  # whose turn the remainder is, by lot
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
