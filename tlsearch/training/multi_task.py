"""The task that a network was pretrained on, learnt on beside the target's: a second head."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from tlsearch.config.runtime import derive_seed
from tlsearch.models.backbones import Backbone, Head
from tlsearch.training.batches import Pixels
from tlsearch.training.feature_cache import ActivationStore, Forward
from tlsearch.training.precision import Numerics

MIN_BATCH_SIZE = 64
"""Of source images in a step, however few the target has. BatchNorm normalises them by themselves:
sixteen images of 36 characters tell so little of the source that their loss drives the network away
from it, farther than without the second task. The number itself is a guess from a few trainings."""
PREFIX = "source_head."
"""Begins the names of the second head's weights; no network has such a module."""


class SecondTask:
    """Labelled images of the source, `rows` of `pixels`, and a head for their classes.

    Its loss is computed in a forward pass of its own. One pass over both domains would give
    BatchNorm statistics of a mixture that no batch has at test time, and a pass that moved the
    running averages would leave the target's model with the source's: so each batch is normalised
    by itself, and the running averages are the target's alone (the shared weights of
    arXiv:1603.04779, without a second set of statistics, which the delivered model has no use for).

    Raises:
        WorkError: activations of the frozen groups cannot be written.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        head: Head,
        pixels: Pixels,
        rows: np.ndarray,
        key: str,
        weight: float,
        activations: ActivationStore | None,
        numerics: Numerics,
        device: torch.device,
        seed: int,
    ) -> None:
        self.head, self.key, self.weight = head.to(device), key, weight
        self._backbone, self._rows, self._seed = backbone, rows, seed
        self._numerics, self._device = numerics, device
        self.forward = Forward(
            backbone,
            pixels=pixels,
            activations=activations,
            kept_rows=rows,
            numerics=numerics,
            device=device,
        )

    def follow(self, target: Forward) -> None:
        """Take the same groups as standing still that the target's pass does."""
        self.forward.freeze(target.open_groups, norms_alone=target.norms_alone)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The second head's weights by name."""
        return {f"{PREFIX}{name}": p for name, p in self.head.named_parameters()}

    def state(self) -> dict[str, Tensor]:
        """The second head's weights, those in use."""
        return {name: p.detach() for name, p in self.parameters().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take the weights that `state` gave; it may hold others."""
        self.head.load_state_dict({n: state[f"{PREFIX}{n}"] for n in self.head.state_dict()})

    def loss(self, *, epoch: int, step: int, batch_size: int) -> Tensor:
        """Cross-entropy on as many source images, at least `MIN_BATCH_SIZE`, drawn from
        (seed, epoch, step).
        """
        draw = np.random.default_rng(derive_seed(self._seed, "source batch", epoch, step))
        batch_size = max(batch_size, min(MIN_BATCH_SIZE, len(self._rows)))
        # No image twice in a batch, as long as there are enough.
        few = len(self._rows) < batch_size
        rows = np.sort(draw.choice(self._rows, batch_size, replace=few))
        with _standing_statistics(self._backbone.model):
            features = self.forward.features(rows)
        with self._numerics.autocast(self._device):
            logits = self.head(features).float()
        return F.cross_entropy(logits, self.forward.labels(rows))


@contextmanager
def _standing_statistics(model: nn.Module) -> Iterator[None]:
    """BatchNorm that trains goes on normalising by the batch, and keeps no note of it."""
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
