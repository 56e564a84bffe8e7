"""The loss of a batch, each image with a weight of its own."""

import math

import torch.nn.functional as F
from torch import Tensor

EXPLODED_LOSS = 100.0
"""A batch loss this many times that of guessing, ln(classes), counts as diverged. A guess: rates
that recovered stayed far below it on the networks tried."""


def cross_entropy(
    logits: Tensor, labels: Tensor, *, weights: Tensor | None, label_smoothing: float
) -> Tensor:
    """Mean of the images' cross-entropies times `weights` (B,), or of them alone."""
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    losses = F.cross_entropy(logits, labels, label_smoothing=label_smoothing, reduction="none")
    return (losses * weights.to(losses.device)).mean()


def largest_loss(num_classes: int, weights: Tensor | None) -> float:
    """The largest loss of a batch, its images of these weights (B,), that counts as no divergence;
    a heavy image alone is no explosion.
    """
    heaviest = 1.0 if weights is None else max(1.0, float(weights.max()))
    return EXPLODED_LOSS * math.log(max(num_classes, 2)) * heaviest
