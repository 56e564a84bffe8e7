"""What single steps tell of a training: how large its gradients are, and how far weights move."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


class StepNorms:
    """2-norms over all weights that train: of every gradient, and of the largest update.

    `gradients` holds one number a step, before clipping. `largest_update`, the norm of weights
    after less weights before a step, is not a number unless `updates` are measured: that costs a
    copy of the weights in every step. `seconds` is what it has cost in this process.
    """

    def __init__(self, *, updates: bool) -> None:
        self.gradients: list[float] = []
        self.largest_update = 0.0 if updates else math.nan
        self.seconds = 0.0
        self._updates = updates
        self._before: list[Tensor] = []

    @property
    def largest_gradient(self) -> float:
        """The largest finite norm of a gradient; 0 before the first."""
        return max(filter(math.isfinite, self.gradients), default=0.0)

    @contextmanager
    def update(self, weights: Sequence[nn.Parameter]) -> Iterator[None]:
        """Around an optimizer step over `weights`; those without a gradient stand still."""
        if not self._updates:
            yield
            return
        moving = [w.detach() for w in weights if w.grad is not None]
        with self._timed(weights[0].device):
            self._keep(moving)
        yield
        with self._timed(weights[0].device):
            self._measure(moving)

    def _keep(self, moving: list[Tensor]) -> None:
        if [w.shape for w in self._before] != [w.shape for w in moving]:  # a group has opened
            self._before = [torch.empty_like(w) for w in moving]
        torch._foreach_copy_(self._before, moving)

    def _measure(self, moving: list[Tensor]) -> None:
        # In place, and in memory that is there already: fresh pages would cost more than the sums.
        torch._foreach_sub_(self._before, moving)
        norm = float(nn.utils.get_total_norm(self._before))
        self.largest_update = max(self.largest_update, norm)

    @contextmanager
    def _timed(self, device: torch.device) -> Iterator[None]:
        """Count the work within, and none of the step's that a GPU has still to do."""
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        yield
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds += time.perf_counter() - started

    def state(self) -> dict[str, Any]:
        """The norms so far."""
        return {"gradients": self.gradients, "largest_update": self.largest_update}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from norms that `state` gave."""
        self.gradients = list(state["gradients"])
        self.largest_update = state["largest_update"]
