"""Attacks on the network while it trains: part of each batch is made as hard as it may be."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlsearch.config.augmentation import Attack, FgsmAttack, PgdAttack
from tlsearch.config.runtime import derive_seed

Logits = Callable[[Tensor], Tensor]
"""From pixels in 0 … 1 (B, C, H, W) to class scores (B, K); the normalisation is part of it."""


def fgsm(
    chosen: FgsmAttack, logits: Logits, images: Tensor, labels: Tensor, _: torch.Generator
) -> Tensor:
    """One step of `epsilon` in every pixel, uphill in the loss, cut to 0 … 1.

    images: (B, C, H, W) in 0 … 1; labels: (B,), the true classes, or (B, K), their shares.
    Source: Goodfellow et al. 2015 (arXiv:1412.6572).
    """
    return (images + chosen.epsilon * _uphill(logits, images, labels)).clamp(0, 1)


STEP_LENGTH = 2.5
"""A step of PGD, in shares of epsilon over the number of steps: enough of them cross the ball from
any start (arXiv:1706.06083)."""


def pgd(
    chosen: PgdAttack, logits: Logits, images: Tensor, labels: Tensor, generator: torch.Generator
) -> Tensor:
    """Steps uphill from a random point, each cut to `epsilon` around the image and to 0 … 1.

    images: (B, C, H, W) in 0 … 1; labels: (B,), the true classes, or (B, K), their shares;
    `generator`, on the CPU, draws the start.
    Source: Madry et al. 2018 (arXiv:1706.06083).
    """
    epsilon = chosen.epsilon
    step_size = STEP_LENGTH * epsilon / chosen.num_steps
    start = torch.rand(images.shape, generator=generator).to(images.device)
    attacked = (images + epsilon * (2 * start - 1)).clamp(0, 1)
    for _ in range(chosen.num_steps):
        attacked = attacked + step_size * _uphill(logits, attacked, labels)
        attacked = attacked.clamp(images - epsilon, images + epsilon).clamp(0, 1)
    return attacked


ATTACKERS: Mapping[
    type[Attack], Callable[[Any, Logits, Tensor, Tensor, torch.Generator], Tensor]
] = {FgsmAttack: fgsm, PgdAttack: pgd}
"""What carries out each attack."""


def _uphill(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """Sign of the loss's gradient in every pixel; the weights' gradients stay as they are."""
    images = images.detach().requires_grad_()
    # The sum, so that no image's gradient depends on how many others there are.
    loss = F.cross_entropy(logits(images), labels, reduction="sum")
    (gradient,) = torch.autograd.grad(loss, images)
    return gradient.sign()


class Adversary:
    """Attacks the first `share` of each batch, whose order is random, and at least one image.

    The network is attacked as it answers, in evaluation mode: BatchNorm's statistics do not move,
    nothing is dropped, and no gradient is left in the weights. PGD's start is drawn from (seed,
    epoch, first row).
    Source: FGSM, arXiv:1412.6572; PGD, arXiv:1706.06083.
    """

    def __init__(
        self, chosen: FgsmAttack | PgdAttack, *, model: nn.Module, logits: Logits, seed: int
    ) -> None:
        self._chosen, self._model, self._logits, self._seed = chosen, model, logits, seed

    def __call__(self, images: Tensor, targets: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """Images (B, 3, H, W) in 0 … 1 with the first of them attacked.

        targets: classes (B,), or their shares (B, K) where images are mixed.
        """
        count = max(1, round(self._chosen.share * len(images)))
        generator = torch.Generator()
        generator.manual_seed(derive_seed(self._seed, "adversarial", epoch, int(rows[0])))
        attack = ATTACKERS[type(self._chosen)]
        with _in_evaluation(self._model):
            attacked = attack(
                self._chosen, self._logits, images[:count], targets[:count], generator
            )
        return torch.cat([attacked, images[count:]])


@contextmanager
def _in_evaluation(model: nn.Module) -> Iterator[None]:
    """Within, all modules are in evaluation mode; afterwards each is in the mode that it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
