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
    plan: TrainPlan,
    named: Mapping[str, Mapping[str, nn.Parameter]],
    *,
    distances: Mapping[str, int],
) -> list[dict[str, Any]]:
    """Torch parameter groups of the open layer groups, split by decay and, where the rate decays
    by layer, by the `distances` of their parameters from the head (arXiv:2106.08254).

    Each carries `name` (the layer group), `lr_scale` and `decayed` beside torch's own keys. Under
    L2-SP the body has no decay towards 0.
    """
    strategy = plan.strategy
    rows: dict[tuple[str, float, bool], dict[str, Any]] = {}
    for group in plan.open_groups:
        pulled = strategy.l2_sp > 0 and group != plan.groups[-1]
        for decayed in (True, False):
            for name, parameter in named[group].items():
                if (is_decayed(name, parameter) or strategy.decay_norm_and_bias) is not decayed:
                    continue
                scale = plan.lr_scales[group]
                if strategy.layer_decay != 1:
                    scale *= strategy.layer_decay ** distances[name]
                row: dict[str, Any] = {
                    "params": [],
                    "name": group,
                    "decayed": decayed,
                    "lr_scale": scale,
                    "lr": strategy.lr * scale,
                    "weight_decay": strategy.weight_decay if decayed and not pulled else 0.0,
                }
                rows.setdefault((group, scale, decayed), row)["params"].append(parameter)
    return list(rows.values())


def build_optimizer(
    plan: TrainPlan,
    named: Mapping[str, Mapping[str, nn.Parameter]],
    *,
    distances: Mapping[str, int],
) -> torch.optim.Optimizer:
    """The strategy's optimizer over the groups that train at some time.

    Torch skips parameters without a gradient, so groups that open later stand still until then.
    """
    rows, choice = parameter_groups(plan, named, distances=distances), plan.strategy.optimizer
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
