"""What a network sees of a training batch: pixels through all stages, and whose labels count."""

from typing import NamedTuple

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from tlsearch.study.strategy import Strategy
from tlsearch.training.augmentation.adversary import make_adversary
from tlsearch.training.augmentation.mixing import make_mixing
from tlsearch.training.augmentation.policies import make_stages
from tlsearch.training.augmentation.stages import Stage, through
from tlsearch.training.forward import Forward


class View(NamedTuple):
    """Class scores (B, K) of a batch; of each label `share` is that of `rows`, (B,) of the data
    set, and the rest that of `partners`, None where nothing is mixed.
    """

    logits: Tensor
    rows: np.ndarray
    partners: np.ndarray | None
    share: float

    @property
    def heavier(self) -> np.ndarray:
        """The rows (B,) with the larger part in each image."""
        return self.rows if self.partners is None or self.share >= 0.5 else self.partners


class Views:
    """Makes the batches of a training: adapted, augmented, erased, mixed, attacked, normalised.

    Without any of these, batches go the short way, through kept activations where there are some.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        strategy: Strategy,
        adaptation: Stage | None,
        num_classes: int,
        seed: int,
    ) -> None:
        self._forward, self._num_classes = forward, num_classes
        self._stages: tuple[Stage, ...] = make_stages(strategy, mean=forward.mean, seed=seed)
        if adaptation is not None:
            self._stages = (adaptation, *self._stages)
        self._mixing = make_mixing(strategy.mixing, seed=seed)
        self._adversary = make_adversary(
            strategy.adversarial,
            model=forward.backbone.model,
            logits=forward.logits_of,
            seed=seed,
        )
        self.is_plain = not self._stages and self._mixing is None and self._adversary is None

    def see(self, rows: np.ndarray, *, epoch: int) -> View:
        """Scores of a batch in training mode; gradients flow through the open groups alone."""
        if self.is_plain:
            return View(self._forward.logits(rows), rows, None, 1.0)
        images, partners, share = self.images(rows, epoch=epoch)
        return View(self._forward.logits_of(images), rows, partners, share)

    def images(self, rows: np.ndarray, *, epoch: int) -> tuple[Tensor, np.ndarray | None, float]:
        """Images (B, 3, H, W) in 0 … 1 as the network gets them but for the normalisation; the rows
        that they are mixed with, and the share of `rows` in them.
        """
        images = through(self._stages, self._forward.unit_images(rows), rows, epoch=epoch)
        partners, share = None, 1.0
        if self._mixing is not None:
            images, partners, share = self._mixing(images, rows, epoch=epoch)
        if self._adversary is not None:
            targets = self._targets(rows, partners, share)
            images = self._adversary(images, targets, rows, epoch=epoch)
        return images, partners, share

    def _targets(self, rows: np.ndarray, partners: np.ndarray | None, share: float) -> Tensor:
        """Classes (B,), or their shares (B, K) where images are mixed."""
        labels = self._forward.labels(rows)
        if partners is None:
            return labels
        own, others = (
            F.one_hot(found, self._num_classes).float()
            for found in (labels, self._forward.labels(partners))
        )
        return share * own + (1 - share) * others
