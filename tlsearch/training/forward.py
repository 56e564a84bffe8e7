"""From rows of the data set to class scores, through kept activations where the start is frozen."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tlsearch.models.backbones import Backbone
from tlsearch.training.batches import Pixels, label_batch, normalised, pixel_batch, unit_batch
from tlsearch.training.feature_cache import ActivationStore, run_stages
from tlsearch.training.freezing import freeze
from tlsearch.training.precision import Numerics

EVAL_BATCH_SIZE = 256


class Forward:
    """A backbone over a data set; `open_groups` train, and the first `depth` groups, before them,
    need no gradient and may be kept activations.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        pixels: Pixels,
        activations: ActivationStore | None,
        numerics: Numerics,
        device: torch.device,
    ) -> None:
        self.backbone = backbone
        self._pixels, self._activations = pixels, activations
        self._numerics, self._device = numerics, device
        self._kept: Tensor | None = None
        self.depth, self.open_groups, self.norms_alone = 0, backbone.groups, False
        backbone.model.to(device).to(memory_format=torch.channels_last)

    def freeze(self, open_groups: Sequence[str], *, norms_alone: bool) -> None:
        """Freeze all but these groups and choose where the inputs of the first come from."""
        self.open_groups, self.norms_alone = tuple(open_groups), norms_alone
        depth = self.backbone.groups.index(self.open_groups[0])
        self.depth, self._kept = depth, None
        freeze(self.backbone, open_groups, norms_alone=norms_alone)
        if depth and self._activations is not None:
            frozen = self.backbone.stages[:depth]
            self._kept = self._activations.at_depth(frozen, device=self._device)

    def logits(self, rows: np.ndarray) -> Tensor:
        """Class scores (B, K) in fp32; gradients flow through the open groups alone."""
        with self._numerics.autocast(self._device):
            return run_stages(self.backbone.stages[self.depth :], self._inputs(rows)).float()

    def features(self, rows: np.ndarray) -> Tensor:
        """What the head would see of these rows: (B, width)."""
        with self._numerics.autocast(self._device):
            return run_stages(self.backbone.stages[self.depth : -1], self._inputs(rows))

    @property
    def mean(self) -> tuple[float, float, float]:
        """The mean colour in 0 … 1 that is taken off every image."""
        return self._pixels.mean

    def unit_images(self, rows: np.ndarray) -> Tensor:
        """Stored images (B, 3, H, W) in 0 … 1; grey is repeated."""
        return unit_batch(self._pixels, rows, device=self._device)

    def logits_of(self, images: Tensor) -> Tensor:
        """Class scores (B, K) in fp32 of images (B, 3, H, W) in 0 … 1, through all groups. An image
        that wants a gradient gets one, through frozen groups too.
        """
        with self._numerics.autocast(self._device):
            batch = normalised(images, self._pixels)
            return run_stages(self.backbone.stages, batch).float()

    def labels(self, rows: np.ndarray) -> Tensor:
        """Class indices (B,)."""
        return label_batch(self._pixels, rows, device=self._device)

    @torch.no_grad()
    def evaluate(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Scores (N, K) and labels (N,) in evaluation mode, in batches of one fixed size."""
        self.backbone.model.eval()
        starts = range(0, len(rows), EVAL_BATCH_SIZE)
        parts = [self.logits(rows[i : i + EVAL_BATCH_SIZE]) for i in starts]
        return torch.cat(parts), self.labels(rows)

    def _inputs(self, rows: np.ndarray) -> Tensor:
        if self._kept is None:
            batch = pixel_batch(self._pixels, rows, device=self._device)
            with torch.no_grad():
                return run_stages(self.backbone.stages[: self.depth], batch)
        return self._kept[torch.from_numpy(rows)].to(self._device)
