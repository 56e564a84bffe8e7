"""What becomes of a gradient: penalties, optimizers over layer groups, averages, norms of steps."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tlsearch.training.plan import TrainPlan
from tlsearch.training.precision import clock

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


def build_optimizer(
    plan: TrainPlan,
    named: Mapping[str, Mapping[str, nn.Parameter]],
    *,
    distances: Mapping[str, int],
) -> torch.optim.Optimizer:
    """The strategy's optimizer over the groups that train at some time. Torch skips parameters
    without a gradient, so groups that open later stand still until then.

    Layer groups are split by decay and, where the rate decays by layer, by the `distances` of their
    parameters from the head (arXiv:2106.08254). Each of torch's groups carries `name` (the layer
    group), `lr_scale` and `decayed` beside torch's own keys. Under L2-SP the body has no decay
    towards 0.
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
    build: Any = getattr(torch.optim, strategy.optimizer.torch_name)
    made: torch.optim.Optimizer = build(list(rows.values()), **strategy.optimizer.arguments())
    return made


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


class WeightAverage:
    """`average = d * average + (1 - d) * weights` after every step, from the first step's weights
    on; as torch's `AveragedModel`, without a second network.

    The decay warms up, d = min(decay, (1 + t) / (10 + t)) after t steps: a fixed 0.999 would leave
    a training of 70 steps nearly at its first. Source: Polyak averaging with exponential weights,
    as in arXiv:1703.01780; the warm-up is that of TensorFlow's `ExponentialMovingAverage`
    (`num_updates`).

    `live` are parameters and buffers in use, by name. BatchNorm's running statistics are averaged
    as the weights are, so that they belong to the same stretch of training; counts are copied.
    """

    def __init__(self, live: Mapping[str, Tensor], *, decay: float) -> None:
        self._live = dict(live)
        self._average = {name: value.clone() for name, value in live.items()}
        self._decay = decay
        self._num_steps = 0

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimizer step."""
        blended = [name for name, v in self._live.items() if v.is_floating_point()]
        average, live = ([of[n] for n in blended] for of in (self._average, self._live))
        t = self._num_steps
        decay = min(self._decay, (1 + t) / (10 + t)) if t else 0.0
        torch._foreach_lerp_(average, live, 1 - decay)
        for name in self._live.keys() - blended:
            self._average[name].copy_(self._live[name])
        self._num_steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The average in the network's place while the context lasts."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def keep(self) -> None:
        """Put the average in the network's place for good."""
        for name, value in self._average.items():
            self._live[name].copy_(value)

    def state(self) -> dict[str, Any]:
        """The average as it is in use, no copy, and the number of steps in it."""
        return {"average": self._average, "num_steps": self._num_steps}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        for name, value in self._average.items():
            value.copy_(state["average"][name])
        self._num_steps = state["num_steps"]

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self._average.items():
            live = self._live[name]
            kept = live.clone()
            live.copy_(value)
            value.copy_(kept)


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
            # In place, in memory that is there already: fresh pages would cost more than the sums.
            torch._foreach_sub_(self._before, moving)
            norm = float(nn.utils.get_total_norm(self._before))
            self.largest_update = max(self.largest_update, norm)

    def _keep(self, moving: list[Tensor]) -> None:
        if [w.shape for w in self._before] != [w.shape for w in moving]:  # a group has opened
            self._before = [torch.empty_like(w) for w in moving]
        torch._foreach_copy_(self._before, moving)

    @contextmanager
    def _timed(self, device: torch.device) -> Iterator[None]:
        """Count the work within, and none of the step's that a GPU has still to do."""
        started = clock(device)
        yield
        self.seconds += clock(device) - started

    def state(self) -> dict[str, Any]:
        """The norms so far."""
        return {"gradients": self.gradients, "largest_update": self.largest_update}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from norms that `state` gave."""
        self.gradients = list(state["gradients"])
        self.largest_update = state["largest_update"]
