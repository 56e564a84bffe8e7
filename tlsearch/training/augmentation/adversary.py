"""Attacks on the network while it trains: part of each batch is made as hard as it may be."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from tlsearch.study.augmentation import Attack, FgsmAttack, NoAttack, PgdAttack
from tlsearch.study.seeds import derive_seed
from tlsearch.training.attacks import fgsm, pgd

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
        model: nn.Module,
        logits: Callable[[Tensor], Tensor],
        seed: int,
    ) -> None:
        self._chosen, self._model, self._logits, self._seed = chosen, model, logits, seed

    def __call__(self, images: Tensor, targets: Tensor, rows: np.ndarray, *, epoch: int) -> Tensor:
        """Images (B, 3, H, W) in 0 … 1 with the first of them attacked.

        targets: classes (B,), or their shares (B, K) where images are mixed.
        """
        count = max(1, round(self._chosen.share * len(images)))
        with _in_evaluation(self._model):
            attacked = self._attack(images[:count], targets[:count], rows, epoch)
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
    chosen: Attack, *, model: nn.Module, logits: Callable[[Tensor], Tensor], seed: int
) -> Adversary | None:
    """What attacks a strategy's batches; None where nothing does."""
    if isinstance(chosen, NoAttack):
        return None
    return Adversary(chosen, model=model, logits=logits, seed=seed)


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
