"""Attacks on the network while it trains: part of each batch is made as hard as it may be."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tlsearch.study.augmentation import Attack, FgsmAttack, NoAttack, PgdAttack
from tlsearch.study.seeds import derive_seed
from tlsearch.training.attacks import fgsm, pgd
from tlsearch.transfer.backbones import Backbone, set_train_mode

STEP_LENGTH = 2.5
"""A step of PGD, in shares of epsilon over the number of steps: enough of them cross the ball from
any start (arXiv:1706.06083)."""


class Adversary:
    """Attacks the first `share` of each batch, whose order is by lot, and at least one image.

    The network is attacked as it answers, in evaluation mode: BatchNorm's statistics do not move,
    nothing is dropped, and no gradient is left in the weights. PGD's start is drawn from (seed,
    epoch, first row).
    Source: FGSM, arXiv:1412.6572; PGD, arXiv:1706.06083.
    """

    def __init__(
        self,
        chosen: FgsmAttack | PgdAttack,
        *,
        backbone: Backbone,
        logits: Callable[[Tensor], Tensor],
        seed: int,
    ) -> None:
        self._chosen, self._backbone, self._logits, self._seed = chosen, backbone, logits, seed

    def __call__(
        self, images: Tensor, targets: Tensor, rows: np.ndarray, *, epoch: int, depth: int
    ) -> Tensor:
        """Images (B, 3, H, W) in 0 … 1 with the first of them attacked.

        targets: classes (B,), or their shares (B, K) where images are mixed; `depth` groups are
        frozen, and all others are left in training mode.
        """
        count = max(1, round(self._chosen.share * len(images)))
        self._backbone.model.eval()
        try:
            attacked = self._attack(images[:count], targets[:count], rows, epoch)
        finally:
            set_train_mode(self._backbone, depth)
        return torch.cat([attacked, images[count:]])

    def _attack(self, images: Tensor, targets: Tensor, rows: np.ndarray, epoch: int) -> Tensor:
        epsilon = self._chosen.epsilon
        if isinstance(self._chosen, FgsmAttack):
            return fgsm(self._logits, images, targets, epsilon=epsilon)
        chance = derive_seed(self._seed, "adversarial", epoch, int(rows[0]))
        return pgd(
            self._logits,
            images,
            targets,
            epsilon=epsilon,
            num_steps=self._chosen.num_steps,
            step_size=STEP_LENGTH * epsilon / self._chosen.num_steps,
            generator=torch.Generator().manual_seed(chance),
        )


def make_adversary(
    chosen: Attack, *, backbone: Backbone, logits: Callable[[Tensor], Tensor], seed: int
) -> Adversary | None:
    """What attacks a strategy's batches; None where nothing does."""
    if isinstance(chosen, NoAttack):
        return None
    return Adversary(chosen, backbone=backbone, logits=logits, seed=seed)
