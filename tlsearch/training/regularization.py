"""Penalties on weights that are added to the gradient: L1, and the pull towards the start."""

import torch
from torch import Tensor, nn


@torch.no_grad()
def add_l1_gradient(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Add the subgradient of `l1 * sum(|w|)` over the decayed parameters that have a gradient."""
    for row in optimizer.param_groups:
        if row["decayed"]:
            params = [p for p in row["params"] if p.grad is not None]
            if params:
                torch._foreach_add_([p.grad for p in params], torch._foreach_sign(params), alpha=l1)


class L2SP:
    """The gradient of `strength / 2 * |w - start|²` over the body's decayed parameters.

    The start is where they are when this is made: the pretrained weights. The head has none, so it
    keeps ordinary weight decay, and the body has no other (α and β in the paper). Costs one copy of
    the body's weights. With AdamW, too, this is part of the gradient.
    Source: Li et al., arXiv:1802.01483.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, *, strength: float, head: str) -> None:
        self._strength = strength
        self._start: list[tuple[nn.Parameter, Tensor]] = [
            (p, p.detach().clone())
            for row in optimizer.param_groups
            if row["decayed"] and row["name"] != head
            for p in row["params"]
        ]

    @torch.no_grad()
    def add_gradient(self) -> None:
        """Add it to the gradients that are there; parameters without one stand still."""
        moving = [(p, p.grad, start) for p, start in self._start if p.grad is not None]
        if moving:
            weights, gradients, starts = (list(column) for column in zip(*moving, strict=True))
            away = torch._foreach_sub(weights, starts)
            torch._foreach_add_(gradients, away, alpha=self._strength)
