"""Heads by the hundred: trainings of the head alone on the same frozen features, as one product.

Each keeps its own rate, schedule, momentum, decay, dropout and so on, sees the same batches and
drops the same features as alone in a `Trainer`, and comes to the same result but for the order in
which sums are rounded: figures of fp32 that differ in the sixth digit, and now and then an image
whose two best classes tie.
"""

import math
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tlsearch.config.optimization import Adam, AdamW, Optimizer, RmsProp, Sgd
from tlsearch.config.runtime import derive_seed
from tlsearch.config.strategy import SamplingBalance, Strategy
from tlsearch.metrics.objectives import Answers, balanced_accuracy, macro_auroc, macro_f1
from tlsearch.training.batches import TrainingData, largest_loss, loss_weights, training_order
from tlsearch.training.plan import TrainPlan, batch_bounds
from tlsearch.training.results import Ending, EpochResult, TrainResult, best_epoch

STACK_NUMBERS = 1 << 19
"""Weights of the heads that are trained at a time: with their averages they stay in a core's
cache, which a step goes through several times."""
_EXACT = torch.float64
_EPS = 1e-8
"""Of Adam and RMSprop, torch's own default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadRun:
    """A training of the head alone from the head's `state`: `weight` (K, F) and, if it has one,
    `bias` (K,). It sees the `selected` features, (F,) of 0 and 1; all for None.
    """

    plan: TrainPlan
    seed: int
    state: Mapping[str, Tensor]
    selected: Tensor | None


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainedHead:
    """How it ended, and the head's state at the chosen epoch."""

    result: TrainResult
    state: Mapping[str, Tensor]


def train_heads(
    runs: Sequence[HeadRun], *, features: Tensor, data: TrainingData, metric: str
) -> list[TrainedHead]:
    """Train each run to its end, as `Trainer` would by itself.

    features: (R, F) float32 on the CPU, what the head sees of the rows that train or validate, in
    ascending order.
    """
    rows = np.union1d(data.train, data.validation)
    seen = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    stacks = defaultdict(list)
    for place, run in enumerate(runs):
        stacks[_batches_and_rules(run)].append(place)
    found: dict[int, TrainedHead] = {}
    for places in stacks.values():
        size = max(1, STACK_NUMBERS // (data.num_classes * seen.shape[1]))
        for start in range(0, len(places), size):
            some = places[start : start + size]
            stack = _Stack([runs[i] for i in some], seen=seen, rows=rows, data=data, metric=metric)
            found |= zip(some, stack.train(), strict=True)
    return [found[place] for place in range(len(runs))]


def _batches_and_rules(run: HeadRun) -> tuple[object, ...]:
    """What the runs of a stack have in common: their batches, and which steps there are."""
    strategy = run.plan.strategy
    return (
        *(run.seed, strategy.batch_size, run.plan.num_epochs),
        isinstance(strategy.class_balance, SamplingBalance),
        type(strategy.optimizer),
        strategy.dropout > 0,
        "bias" in run.state,
    )


class _Stack:
    """Heads in one tensor, (S, K, F + 1), their biases in the last column; `seen` are the features
    (R, F + 1) of `rows` with a last column of ones. A head that has ended goes on unheard.
    """

    def __init__(
        self,
        runs: Sequence[HeadRun],
        *,
        seen: Tensor,
        rows: np.ndarray,
        data: TrainingData,
        metric: str,
    ) -> None:
        self._plans, self._seed = [run.plan for run in runs], runs[0].seed
        self._strategies = strategies = [plan.strategy for plan in self._plans]
        self._data, self._metric, self._seen, self._rows = data, metric, seen, rows
        self._labels = torch.from_numpy(data.pixels.labels[rows])
        self._heads = torch.stack([_with_bias(run) for run in runs])
        self._has_bias = "bias" in runs[0].state
        self._mask = _mask([run.selected for run in runs], self._heads, self._has_bias)
        self._decayed = torch.ones_like(self._heads[:, :1])
        self._decayed[:, 0, -1] = torch.tensor([float(s.decay_norm_and_bias) for s in strategies])
        decay = self._decayed * _column([s.weight_decay for s in strategies])
        self._rule = RULES[type(strategies[0].optimizer)](strategies, decay, self._heads)
        self._smoothing = _column([s.label_smoothing for s in strategies])
        self._l1 = _column([s.l1 for s in strategies]) * self._decayed
        self._clip = torch.tensor([s.clip_norm or math.inf for s in strategies])
        self._kept = torch.tensor([1 - s.dropout for s in strategies], dtype=_EXACT)[:, None, None]
        self._generators = [torch.Generator() for s in strategies if s.dropout]
        bounds = batch_bounds(len(data.train), batch_size=strategies[0].batch_size)
        largest, width = max(high - low for low, high in bounds), seen.shape[1] - 1
        size = len(runs) if self._generators else 0
        # Of noise and of what it leaves, made once: fresh pages would cost more than the products.
        self._buffers = torch.ones(size, largest, width), torch.ones(size, largest, width + 1)
        self._weights = self._loss_weights()
        self._ema = _column([s.ema_decay or 0.0 for s in strategies])
        self._average = self._heads.clone() if self._ema.any() else self._heads
        self._num_steps = 0
        self._history: list[list[EpochResult]] = [[] for _ in runs]
        self._seconds = [0.0] * len(runs)
        self._max_norms = torch.zeros(len(runs))
        self._live = torch.ones(len(runs), dtype=torch.bool)
        self._reasons: dict[int, str] = {}
        self._confusions: dict[int, np.ndarray] = {}
        self._best: dict[int, Tensor] = {}

    def train(self) -> list[TrainedHead]:
        """Train every epoch of every head."""
        epoch = 0
        while running := self._live.nonzero()[:, 0].tolist():
            epoch += 1
            started = time.perf_counter()
            trained = self._train_epoch(epoch)
            took = (time.perf_counter() - started) / len(running)
            for i in running:
                self._seconds[i] += took
            validated = self._validate()
            took = (time.perf_counter() - started) / len(running)
            for i in running:
                if i not in self._reasons:
                    self._note(i, epoch, trained, validated, took)
                self._live[i] = i not in self._reasons and not self._is_finished(i)
        return [self._ended(i) for i in range(len(self._plans))]

    def _is_finished(self, i: int) -> bool:
        """As `Trainer.finished`."""
        history, patience = self._history[i], self._strategies[i].patience_epochs
        return len(history) >= self._plans[i].num_epochs or (
            patience is not None and len(history) - self._chosen(i).epoch >= patience
        )

    def _chosen(self, i: int) -> EpochResult:
        history = self._history[i]
        if self._strategies[i].patience_epochs is None:
            return history[-1]
        return best_epoch(history, metric=self._metric)

    # Training.

    def _train_epoch(self, epoch: int) -> "_Trained":
        balance = self._strategies[0].class_balance
        order = training_order(self._data, balance=balance, seed=self._seed, epoch=epoch)
        places = torch.from_numpy(np.searchsorted(self._rows, order))
        for generator in self._generators:
            generator.manual_seed(derive_seed(self._seed, "dropout", epoch))
        bounds = batch_bounds(len(order), batch_size=self._strategies[0].batch_size)
        val_losses = [[r.val_loss for r in history] for history in self._history]
        losses, hits, norms = (torch.zeros(len(self._plans)) for _ in range(3))
        rates: list[float] = []
        for step, (low, high) in enumerate(bounds):
            at = (epoch - 1) * len(bounds) + step
            known = zip(self._plans, val_losses, strict=True)
            rates = [plan.base_lr(at, val_losses=before) for plan, before in known]
            loss, right, norm, limit = self._step(places[low:high], _column(rates))
            self._note_divergence(loss, norm, limit, where=f"epoch {epoch}, step {step + 1}")
            losses += loss * (high - low)
            hits += right
            norms = torch.maximum(norms, norm)
        num = len(order)
        return _Trained((losses / num).tolist(), (hits / num).tolist(), norms.tolist(), rates)

    @torch.no_grad()
    def _step(self, places: Tensor, rates: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One optimizer step of all: loss, right answers, the gradient's norm before clipping and
        the largest loss that is no divergence, (S,) each.
        """
        seen, labels = self._seen[places], self._labels[places]
        if self._generators:
            seen = self._dropped(seen)
        logits = _products(seen, self._heads)
        every = torch.arange(len(labels))
        log_shares = logits.log_softmax(2)
        of_labels = log_shares[:, every, labels]
        smooth = self._smoothing[:, :, 0]
        losses = (smooth - 1) * of_labels - smooth * log_shares.mean(2)
        pull = log_shares.exp_().sub_(self._smoothing / self._data.num_classes)
        pull[:, every, labels] -= 1 - smooth
        heaviest = torch.ones(len(self._plans))
        if self._weights is not None:
            weights = self._weights[:, places]
            losses, pull = losses * weights, pull * weights[:, :, None]
            heaviest = weights.amax(1).clamp(min=1)
        gradient = _gradients(pull / len(labels), seen)
        if self._mask is not None:
            gradient *= self._mask
        if self._l1.any():
            gradient += self._l1 * self._heads.sign()
        norm = gradient.flatten(1).norm(dim=1)
        if (norm > self._clip).any():
            bounded = (self._clip / (norm + 1e-6)).clamp(max=1)
            gradient *= torch.where(norm > self._clip, bounded, 1.0)[:, None, None]
        self._rule.step(self._heads, gradient, rates)
        if self._average is not self._heads:
            t = self._num_steps
            decay = self._ema.clamp(max=(1 + t) / (10 + t)) if t else torch.zeros_like(self._ema)
            self._average.lerp_(self._heads, 1 - decay)
        self._num_steps += 1
        right = (logits.argmax(2) == labels).sum(1)
        limit = largest_loss(self._data.num_classes, None) * heaviest
        return losses.mean(1), right.float(), norm, limit

    def _dropped(self, seen: Tensor) -> Tensor:
        """What each head sees of a batch, (S, B, F + 1): features dropped as alone, by a generator
        in the same state.
        """
        noise, dropped = (buffer[:, : len(seen)] for buffer in self._buffers)
        if _drops_by_uniforms():
            uniforms = torch.rand(noise.shape[1:], dtype=_EXACT, generator=self._generators[0])
            torch.lt(uniforms, self._kept, out=noise)
        else:
            for of_one, kept, generator in zip(noise, self._kept, self._generators, strict=True):
                of_one.bernoulli_(kept.item(), generator=generator)
        torch.mul(noise.mul_(1 / self._kept.float()), seen[:, :-1], out=dropped[:, :, :-1])
        return dropped

    def _loss_weights(self) -> Tensor | None:
        """Weights (S, R) of the training loss, None for all alike."""
        data, found = self._data, []
        for balance in (s.class_balance for s in self._strategies):
            weights = loss_weights(data.weights, data.pixels.labels, data.train, balance=balance)
            found.append(None if weights is None else weights[torch.from_numpy(self._rows)])
        if all(weights is None for weights in found):
            return None
        alike = torch.ones(len(self._rows))
        return torch.stack([alike if weights is None else weights for weights in found])

    def _note_divergence(self, loss: Tensor, norm: Tensor, limit: Tensor, *, where: str) -> None:
        counts = self._live & norm.isfinite()
        self._max_norms = torch.where(counts, self._max_norms.maximum(norm), self._max_norms)
        diverged = self._live & ~((loss <= limit) & norm.isfinite())
        for i in diverged.nonzero()[:, 0].tolist():
            is_loss = not bool(loss[i] <= limit[i])
            why = f"loss is {loss[i]:.4g}" if is_loss else f"gradient's norm is {norm[i]}"
            self._reasons[i] = f"{where}: the {why}"
        self._live &= ~diverged

    # Validation, and what is known at the end.

    @torch.no_grad()
    def _validate(self) -> "_Validated":
        places = torch.from_numpy(np.searchsorted(self._rows, self._data.validation))
        labels, num_classes = self._labels[places], self._data.num_classes
        logits = _products(self._seen[places], self._average)
        of_labels = logits.log_softmax(2)[:, torch.arange(len(labels)), labels]
        cells = labels * num_classes + logits.argmax(2)
        cells += torch.arange(len(logits))[:, None] * num_classes**2
        counts = torch.bincount(cells.flatten(), minlength=len(logits) * num_classes**2)
        confusions = counts.view(-1, num_classes, num_classes).numpy()
        return _Validated((-of_labels.mean(1)).tolist(), confusions, logits, labels.numpy())

    def _note(
        self, i: int, epoch: int, trained: "_Trained", validated: "_Validated", seconds: float
    ) -> None:
        """Keep an epoch of one head, or that it diverged."""
        strategy, confusion = self._strategies[i], validated.confusions[i]
        loss = validated.losses[i]
        if not math.isfinite(loss):
            self._reasons[i] = f"epoch {epoch}: the validation loss is {loss}"
            return
        may_end = epoch == self._plans[i].num_epochs or strategy.patience_epochs is not None
        auroc = None
        if may_end or self._metric == "val_macro_auroc":
            shares = validated.logits[i].softmax(1).numpy()
            auroc = macro_auroc(Answers(validated.labels, shares))
        result = EpochResult(
            epoch=epoch,
            train_loss=trained.losses[i],
            train_accuracy=trained.accuracies[i],
            val_loss=loss,
            val_accuracy=float(np.trace(confusion) / confusion.sum()),
            lr=trained.rates[i],
            max_grad_norm=trained.norms[i],
            seconds=seconds,
            val_balanced_accuracy=balanced_accuracy(confusion),
            val_macro_f1=macro_f1(confusion),
            val_macro_auroc=auroc,
        )
        self._history[i].append(result)
        if self._chosen(i) is result:
            self._confusions[i] = confusion
            if strategy.patience_epochs is not None:
                self._best[i] = self._average[i].clone()

    def _ended(self, i: int) -> TrainedHead:
        history, reason = self._history[i], self._reasons.get(i, "")
        ending: Ending = "diverged" if reason else "complete"
        confusion = () if reason else tuple(map(tuple, self._confusions[i].tolist()))
        result = TrainResult(
            ending=ending,
            reason=reason,
            epochs=tuple(history),
            chosen=self._chosen(i) if history else None,
            confusion=confusion,
            max_grad_norm=float(self._max_norms[i]),
            images_trained=len(history) * len(self._data.train),
            seconds=sum(r.seconds for r in history),
            step_seconds=self._seconds[i],
            folds=(),
            measures={},
        )
        head = self._best.get(i, self._average[i])
        state = {"weight": head[:, :-1].clone()}
        if self._has_bias:
            state["bias"] = head[:, -1].clone()
        return TrainedHead(result=result, state=state)


class _Trained(NamedTuple):
    """Of each head: mean loss, share of right answers, largest norm, the last step's rate."""

    losses: list[float]
    accuracies: list[float]
    norms: list[float]
    rates: list[float]


class _Validated(NamedTuple):
    """Losses (S), confusions (S, K, K), logits (S, V, K) and the labels (V,)."""

    losses: list[float]
    confusions: np.ndarray
    logits: Tensor
    labels: np.ndarray


@cache
def _drops_by_uniforms() -> bool:
    """Whether torch drops what a uniform number is not below the share that is kept of: so on
    processors without another way of drawing many at once. Heads of one seed share the numbers.
    """
    generator, kept = torch.Generator(), 0.7
    drawn = torch.empty(4096).bernoulli_(kept, generator=generator.manual_seed(0))
    uniforms = torch.rand(4096, dtype=_EXACT, generator=generator.manual_seed(0))
    return torch.equal(drawn, (uniforms < kept).float())


def _products(seen: Tensor, heads: Tensor) -> Tensor:
    """Logits (S, B, K) of heads (S, K, F) for what all of them see, (B, F), or each, (S, B, F)."""
    if seen.ndim == 3:
        return torch.bmm(seen, heads.mT)
    num_heads, num_classes, _ = heads.shape
    flat = seen @ heads.flatten(0, 1).T
    return flat.view(-1, num_heads, num_classes).transpose(0, 1)


def _gradients(pull: Tensor, seen: Tensor) -> Tensor:
    """Gradients (S, K, F) of heads, by those of their logits, (S, B, K)."""
    if seen.ndim == 3:
        return torch.bmm(pull.mT, seen)
    flat = pull.transpose(0, 1).flatten(1).T @ seen
    return flat.view(len(pull), -1, seen.shape[1])


def _column(values: Sequence[float]) -> Tensor:
    """A number for each head, (S, 1, 1)."""
    return torch.tensor(values)[:, None, None]


def _with_bias(run: HeadRun) -> Tensor:
    weight = run.state["weight"]
    bias = run.state.get("bias", torch.zeros(len(weight)))
    return torch.cat([weight, bias[:, None]], dim=1)


def _mask(selected: Sequence[Tensor | None], heads: Tensor, has_bias: bool) -> Tensor | None:
    """Which columns move, (S, 1, F + 1); None for all."""
    if has_bias and all(of is None for of in selected):
        return None
    mask = torch.ones_like(heads[:, :1])
    for of_one, features in zip(mask, selected, strict=True):
        if features is not None:
            of_one[0, :-1] = features
    mask[:, :, -1] = float(has_bias)
    return mask


class _Rule(ABC):
    """An optimizer over heads (S, K, F + 1), each with fields of its own, as torch's over one."""

    def __init__(self, strategies: Sequence[Strategy], decay: Tensor, heads: Tensor) -> None:
        self._decay = decay if decay.any() else None
        of: list[Any] = [s.optimizer for s in strategies]
        self._fields = {name: _column([float(vars(o)[name]) for o in of]) for name in vars(of[0])}
        self._memory = [torch.zeros_like(heads) for _ in range(self.num_memories)]
        self._num_steps = 0

    num_memories: ClassVar[int]

    def step(self, heads: Tensor, gradient: Tensor, rates: Tensor) -> None:
        """Move the heads; `gradient` is used up. rates: (S, 1, 1)."""
        self._num_steps += 1
        if self._decay is not None:
            self._add_decay(heads, gradient, rates)
        heads.addcmul_(self._direction(gradient), rates, value=-1)

    def _add_decay(self, heads: Tensor, gradient: Tensor, rates: Tensor) -> None:  # noqa: ARG002
        assert self._decay is not None, "there is decay"
        gradient.addcmul_(heads, self._decay)

    @abstractmethod
    def _direction(self, gradient: Tensor) -> Tensor:
        """What the heads move against, times the rate."""


class _SgdRule(_Rule):
    num_memories = 1

    def _direction(self, gradient: Tensor) -> Tensor:
        (velocity,), momentum = self._memory, self._fields["momentum"]
        velocity.mul_(momentum).add_(gradient)
        nesterov = self._fields["nesterov"]
        if not nesterov.any():
            return velocity
        return torch.where(nesterov > 0, gradient.addcmul_(velocity, momentum), velocity)


class _AdamRule(_Rule):
    num_memories = 2

    def _direction(self, gradient: Tensor) -> Tensor:
        (mean, square), t = self._memory, self._num_steps
        beta1, beta2 = self._fields["beta1"], self._fields["beta2"]
        mean.lerp_(gradient, 1 - beta1)
        square.mul_(beta2).addcmul_(gradient.square_(), 1 - beta2)
        spread = (square / (1 - beta2.double() ** t).float()).sqrt_().add_(_EPS)
        return (mean / spread).div_((1 - beta1.double() ** t).float())


class _AdamWRule(_AdamRule):
    def _add_decay(self, heads: Tensor, gradient: Tensor, rates: Tensor) -> None:  # noqa: ARG002
        assert self._decay is not None, "there is decay"
        heads.mul_(1 - rates * self._decay)


class _RmsPropRule(_Rule):
    num_memories = 2

    def _direction(self, gradient: Tensor) -> Tensor:
        (square, velocity), alpha = self._memory, self._fields["alpha"]
        square.mul_(alpha).addcmul_(gradient * gradient, 1 - alpha)
        velocity.mul_(self._fields["momentum"]).add_(gradient.div_(square.sqrt().add_(_EPS)))
        return velocity


RULES: Mapping[type[Optimizer], type[_Rule]] = {
    Sgd: _SgdRule,
    Adam: _AdamRule,
    AdamW: _AdamWRule,
    RmsProp: _RmsPropRule,
}
