"""Torch optimizers over layer groups, each with its rate; decay spares biases and norms."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from tlsearch.study.strategy import Adam, AdamW, RmsProp, Sgd
from tlsearch.transfer.plan import TrainPlan

NO_DECAY_NAMES = frozenset(
    {
        "bias",
        "class_token",
        "layer_scale",
        "logit_scale",
        "pos_embedding",
        "relative_position_bias_table",
    }
)
"""Last part of the names of parameters that are offsets or scales whatever their shape; vectors
(norm weights) are recognised by shape."""


def is_decayed(name: str, parameter: nn.Parameter) -> bool:
    """Whether weight decay and L1 reach this parameter by default: weights, no biases or norms."""
    return parameter.ndim > 1 and name.rsplit(".", 1)[-1] not in NO_DECAY_NAMES


def parameter_groups(
    plan: TrainPlan, named: Mapping[str, Mapping[str, nn.Parameter]]
) -> list[dict[str, Any]]:
    """Torch parameter groups of the open layer groups, split by decay.

    Each carries `name` (the layer group), `lr_scale` and `decayed` beside torch's own keys.
    """
    rows: list[dict[str, Any]] = []
    for group in plan.open_groups:
        for decayed in (True, False):
            params = [
                p
                for name, p in named[group].items()
                if (is_decayed(name, p) or plan.strategy.decay_norm_and_bias) is decayed
            ]
            if params:
                rows.append(
                    {
                        "params": params,
                        "name": group,
                        "decayed": decayed,
                        "lr_scale": plan.lr_scales[group],
                        "lr": plan.strategy.lr * plan.lr_scales[group],
                        "weight_decay": plan.strategy.weight_decay if decayed else 0.0,
                    }
                )
    return rows


def build_optimizer(
    plan: TrainPlan, named: Mapping[str, Mapping[str, nn.Parameter]]
) -> torch.optim.Optimizer:
    """The strategy's optimizer over the groups that train at some time.

    Torch skips parameters without a gradient, so groups that open later stand still until then.
    """
    rows, choice = parameter_groups(plan, named), plan.strategy.optimizer
    match choice:
        case Sgd():
            return torch.optim.SGD(
                rows, momentum=choice.momentum, nesterov=choice.nesterov, fused=True
            )
        case Adam():
            return torch.optim.Adam(rows, betas=(choice.beta1, choice.beta2), fused=True)
        case AdamW():
            return torch.optim.AdamW(rows, betas=(choice.beta1, choice.beta2), fused=True)
        case RmsProp():
            return torch.optim.RMSprop(rows, alpha=choice.alpha, momentum=choice.momentum)


def set_lr(optimizer: torch.optim.Optimizer, base_lr: float) -> None:
    """Give every layer group its share of the head's rate."""
    for row in optimizer.param_groups:
        row["lr"] = base_lr * row["lr_scale"]


@torch.no_grad()
def add_l1_gradient(optimizer: torch.optim.Optimizer, l1: float) -> None:
    """Add the subgradient of `l1 * sum(|w|)` over the decayed parameters that have a gradient."""
    for row in optimizer.param_groups:
        if row["decayed"]:
            params = [p for p in row["params"] if p.grad is not None]
            if params:
                torch._foreach_add_([p.grad for p in params], torch._foreach_sign(params), alpha=l1)
