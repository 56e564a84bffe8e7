"""Images that are changed a little so that a classifier errs: what robustness is measured by."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Logits = Callable[[Tensor], Tensor]
"""From pixels in 0 … 1 (B, C, H, W) to class scores (B, K); the normalisation is part of it."""


def fgsm(logits: Logits, images: Tensor, labels: Tensor, *, epsilon: float) -> Tensor:
    """One step of `epsilon` in every pixel, uphill in the loss, cut to 0 … 1.

    images: (B, C, H, W) in 0 … 1; labels: (B,), the true classes, or (B, K), their shares.
    Source: Goodfellow et al. 2015 (arXiv:1412.6572).
    """
    return (images + epsilon * _uphill(logits, images, labels)).clamp(0, 1)


def pgd(
    logits: Logits,
    images: Tensor,
    labels: Tensor,
    *,
    epsilon: float,
    num_steps: int,
    step_size: float,
    generator: torch.Generator,
) -> Tensor:
    """Steps uphill from a random point, each cut to `epsilon` around the image and to 0 … 1.

    images: (B, C, H, W) in 0 … 1; labels: (B,), the true classes, or (B, K), their shares;
    `generator`, on the CPU, draws the start.
    Source: Madry et al. 2018 (arXiv:1706.06083).
    """
    start = torch.rand(images.shape, generator=generator).to(images.device)
    attacked = (images + epsilon * (2 * start - 1)).clamp(0, 1)
    for _ in range(num_steps):
        attacked = attacked + step_size * _uphill(logits, attacked, labels)
        attacked = attacked.clamp(images - epsilon, images + epsilon).clamp(0, 1)
    return attacked


def _uphill(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """Sign of the loss's gradient in every pixel; the weights' gradients stay as they are."""
    images = images.detach().requires_grad_()
    # The sum, so that no image's gradient depends on how many others there are.
    loss = F.cross_entropy(logits(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    return gradient.sign()
