"""The training loop: carries out a plan and yields one result an epoch. Knows no search."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tlsearch.config.runtime import derive_seed
from tlsearch.errors import DivergenceError
from tlsearch.metrics.curves import confusion_matrix
from tlsearch.metrics.objectives import Answers, balanced_accuracy, macro_auroc, macro_f1
from tlsearch.models.backbones import Backbone
from tlsearch.models.freezing import (
    moving_state,
    set_norm_momentum,
    set_train_mode,
    trained_parameters,
)
from tlsearch.models.layer_groups import layer_distances
from tlsearch.training.augmentation import Stage, View, Views, changes_images
from tlsearch.training.batches import (
    TrainingData,
    draw_keys,
    fingerprint,
    largest_loss,
    loss_weights,
    training_order,
)
from tlsearch.training.feature_cache import ActivationStore, Forward
from tlsearch.training.multi_task import SecondTask
from tlsearch.training.optim import (
    L2SP,
    StepNorms,
    WeightAverage,
    add_l1_gradient,
    build_optimizer,
)
from tlsearch.training.plan import TrainPlan, batch_bounds
from tlsearch.training.precision import Numerics
from tlsearch.training.results import Ending, EpochResult, FoldResult, TrainResult, best_epoch


class Trainer:
    """One training. `epochs` yields a result after each epoch; between two of them `state` and
    `load_state` hand over all that the rest of the training depends on. `steps` keeps the norms of
    its steps, those of updates if `measure_updates`; `step_seconds` is the time that they all took,
    without validation. Where weights are averaged, `backbone` holds the average while it validates
    and after `finish`. `adaptation` is the first stage of training batches; `second_task` adds its
    loss to the target's.

    Randomness is drawn from (seed, epoch), so an epoch does not depend on what else ran in this
    process, and needs no saved generator state.

    Raises:
        WorkError: activations of the frozen groups cannot be written.
        RequestError: norms alone are to train, and there are none.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        plan: TrainPlan,
        data: TrainingData,
        activations: ActivationStore | None,
        metric: str,
        seed: int,
        numerics: Numerics,
        device: torch.device,
        measure_updates: bool,
        adaptation: Stage | None,
        second_task: SecondTask | None,
    ) -> None:
        self.backbone, self.plan, self.data = backbone, plan, data
        self.metric, self.seed = metric, seed
        self.adaptation, self.second_task = adaptation, second_task
        rows = np.concatenate([data.train, data.validation])
        self.forward = Forward(
            backbone,
            pixels=data.pixels,
            activations=activations,
            kept_rows=data.validation if changes_images(plan.strategy, adaptation) else rows,
            numerics=numerics,
            device=device,
        )
        self.views = Views(
            self.forward,
            strategy=plan.strategy,
            adaptation=adaptation,
            num_classes=data.num_classes,
            seed=seed,
        )
        set_norm_momentum(backbone, plan.strategy.norm_momentum)
        self._trained = trained_parameters(backbone, norms_alone=plan.norms_alone)
        distances = layer_distances(backbone)
        if second_task is not None:  # its head goes with the head
            self._trained[plan.groups[-1]] |= second_task.parameters()
            distances |= dict.fromkeys(second_task.parameters(), 0)
        self.optimizer = build_optimizer(plan, self._trained, distances=distances)
        self.history: list[EpochResult] = []
        self.steps = StepNorms(updates=measure_updates)
        self.step_seconds = 0.0
        self._best: dict[str, Tensor] | None = None
        self._confusion: tuple[tuple[int, ...], ...] = ()
        strategy, labels = plan.strategy, data.pixels.labels
        self._weights = loss_weights(
            data.weights, labels, data.train, balance=strategy.class_balance
        )
        self._l2_sp = self._average = None
        if strategy.l2_sp:
            self._l2_sp = L2SP(self.optimizer, strength=strategy.l2_sp, head=plan.groups[-1])
        if strategy.ema_decay is not None:
            self._average = WeightAverage(self._moving_state(), decay=strategy.ema_decay)
        self._freeze(1)
        self.fingerprint = fingerprint(
            data,
            *(backbone.name, plan, metric, seed, numerics, device.type, measure_updates),
            second_task and second_task.key,
        )

    def epochs(self) -> Iterator[EpochResult]:
        """Train the epochs that are left, one at a time.

        Raises:
            DivergenceError: the loss or the gradient left the finite numbers, or the loss
                exploded; the message names epoch, step and value.
        """
        while not self.finished:
            result, confusion = self._train_epoch(len(self.history) + 1)
            self.history.append(result)
            if self.chosen is result:
                self._confusion = tuple(map(tuple, confusion.tolist()))
                if self.plan.strategy.patience_epochs is not None:
                    with self._averaged():
                        self._best = {k: v.clone() for k, v in self._moving_state().items()}
            yield result

    @property
    def finished(self) -> bool:
        """Whether the budget is spent or early stopping has lost its patience."""
        patience = self.plan.strategy.patience_epochs
        stalled = 0 if self.chosen is None else len(self.history) - self.chosen.epoch
        return len(self.history) >= self.plan.num_epochs or (
            patience is not None and stalled >= patience
        )

    @property
    def chosen(self) -> EpochResult | None:
        """The epoch whose weights count: the best with early stopping, else the last."""
        if not self.history or self.plan.strategy.patience_epochs is None:
            return self.history[-1] if self.history else None
        return best_epoch(self.history, metric=self.metric)

    def fold_ended(self, _result: EpochResult) -> FoldResult | None:
        """None: a single training has no folds. A `CrossValidation` has."""
        return None

    def _train_epoch(self, epoch: int) -> tuple[EpochResult, np.ndarray]:
        started = time.perf_counter() - self.steps.seconds
        if self.plan.open_in(epoch) != self.forward.open_groups:
            self._freeze(epoch)
        torch.manual_seed(derive_seed(self.seed, "dropout", epoch))
        rest = self.plan.strategy.norm_statistics == "pretrained"
        set_train_mode(self.backbone, self.forward.open_groups, statistics_rest=rest)
        balance = self.plan.strategy.class_balance
        order = training_order(self.data, balance=balance, seed=self.seed, epoch=epoch)
        draws = draw_keys(order, num_images=len(self.data.pixels.labels))
        val_losses = [r.val_loss for r in self.history]
        bounds = batch_bounds(len(order), batch_size=self.plan.strategy.batch_size)
        loss_sum, hits, max_norm, base_lr = 0.0, 0, 0.0, 0.0
        for i, (low, high) in enumerate(bounds):
            base_lr = self.plan.base_lr((epoch - 1) * len(bounds) + i, val_losses=val_losses)
            for group in self.optimizer.param_groups:
                group["lr"] = base_lr * group["lr_scale"]
            rows, keys = order[low:high], draws[low:high]
            loss, right, norm = self._step(rows, keys, epoch=epoch, step=i + 1)
            loss_sum += loss * (high - low)
            hits += right
            max_norm = max(max_norm, norm)
        self.step_seconds += time.perf_counter() - self.steps.seconds - started
        with self._averaged():
            val_loss, confusion, auroc = self._validate(epoch)
        result = EpochResult(
            epoch=epoch,
            train_loss=loss_sum / len(order),
            train_accuracy=hits / len(order),
            val_loss=val_loss,
            val_accuracy=float(np.trace(confusion) / confusion.sum()),
            lr=base_lr,
            max_grad_norm=max_norm,
            seconds=time.perf_counter() - self.steps.seconds - started,
            val_balanced_accuracy=balanced_accuracy(confusion),
            val_macro_f1=macro_f1(confusion),
            val_macro_auroc=auroc,
        )
        return result, confusion

    def _freeze(self, epoch: int) -> None:
        self.forward.freeze(self.plan.open_in(epoch), norms_alone=self.plan.norms_alone)
        if self.second_task is not None:
            self.second_task.follow(self.forward)

    def _averaged(self) -> AbstractContextManager[None]:
        """The averaged weights in place of those that train, where weights are averaged."""
        return nullcontext() if self._average is None else self._average.applied()

    def _step(
        self, rows: np.ndarray, keys: np.ndarray, *, epoch: int, step: int
    ) -> tuple[float, int, float]:
        """One optimizer step: the target's loss, right answers, gradient norm before clipping. Of a
        mixed image the heavier label is the right answer.
        """
        strategy, where = self.plan.strategy, f"epoch {epoch}, step {step}"
        self.optimizer.zero_grad()
        view = self.views.see(rows, keys, epoch=epoch)
        loss = total = self._loss(view)
        if self.second_task is not None:
            beside = self.second_task.loss(epoch=epoch, step=step, batch_size=len(rows))
            total = loss + self.second_task.weight * beside
        torch.autograd.backward(total)
        if strategy.l1:
            add_l1_gradient(self.optimizer, strategy.l1)
        if self._l2_sp is not None:
            self._l2_sp.add_gradient()
        moving = [p for row in self.optimizer.param_groups for p in row["params"]]
        total_norm = nn.utils.get_total_norm([p.grad for p in moving if p.grad is not None])
        right = (view.logits.argmax(1) == self.forward.labels(view.heavier)).sum()
        # One read for all three: on a GPU each would wait for the step to get there.
        value, norm, hits = torch.stack([loss.detach(), total_norm, right.float()]).tolist()
        self.steps.gradients.append(norm)
        if not value <= largest_loss(self.data.num_classes, self._weights_of(rows)):
            raise DivergenceError(f"{where}: the loss is {value:.4g}")
        if not math.isfinite(norm):
            raise DivergenceError(f"{where}: the gradient's norm is {norm}")
        if strategy.clip_norm is not None and norm > strategy.clip_norm:
            nn.utils.clip_grads_with_norm_(moving, strategy.clip_norm, total_norm)
        with self.steps.update(moving):
            self.optimizer.step()
        if self._average is not None:
            self._average.update()
        return value, int(hits), norm

    def _loss(self, view: View) -> Tensor:
        """Mean cross-entropy; that of mixed images by the share of each label."""
        loss = self._cross_entropy(view.logits, view.rows)
        if view.partners is None:
            return loss
        others = self._cross_entropy(view.logits, view.partners)
        return view.share * loss + (1 - view.share) * others

    def _cross_entropy(self, logits: Tensor, rows: np.ndarray) -> Tensor:
        """Mean over the images, each times its weight."""
        labels, weights = self.forward.labels(rows), self._weights_of(rows)
        smoothing = self.plan.strategy.label_smoothing
        if weights is None:
            return F.cross_entropy(logits, labels, label_smoothing=smoothing)
        losses = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        return (losses * weights.to(losses.device)).mean()

    def _weights_of(self, rows: np.ndarray) -> Tensor | None:
        return None if self._weights is None else self._weights[torch.from_numpy(rows)]

    def _validate(self, epoch: int) -> tuple[float, np.ndarray, float | None]:
        """Loss on the validation images, counts (K, K) of their classes and predictions, and the
        area under the ROC curves where it is wanted.
        """
        logits, labels = self.forward.evaluate(self.data.validation)
        loss = F.cross_entropy(logits, labels).item()
        if not math.isfinite(loss):
            raise DivergenceError(f"epoch {epoch}: the validation loss is {loss}")
        classes = labels.cpu().numpy()
        predicted = logits.argmax(1).cpu().numpy()
        confusion = confusion_matrix(classes, predicted, num_classes=self.data.num_classes)
        patience = self.plan.strategy.patience_epochs
        may_end = epoch == self.plan.num_epochs or patience is not None
        if not may_end and self.metric != "val_macro_auroc":
            return loss, confusion, None
        return loss, confusion, macro_auroc(Answers(classes, logits.softmax(1).cpu().numpy()))

    def finish(self) -> TrainResult:
        """Restore the chosen epoch's weights and sum up."""
        if self._best is not None:
            self._load_moving(self._best)
        elif self._average is not None:
            self._average.keep()
        self.backbone.model.eval()
        return self.summary("complete", reason="", confusion=self._confusion)

    def summary(
        self, ending: Ending, *, reason: str, confusion: tuple[tuple[int, ...], ...]
    ) -> TrainResult:
        """The training so far as a result."""
        return TrainResult(
            ending=ending,
            reason=reason,
            epochs=tuple(self.history),
            chosen=self.chosen,
            confusion=confusion,
            max_grad_norm=self.steps.largest_gradient,
            images_trained=len(self.history) * len(self.data.train),
            seconds=sum(r.seconds for r in self.history),
            step_seconds=self.step_seconds,
            folds=(),
            measures={},
        )

    def _moving_state(self) -> dict[str, Tensor]:
        beside = {} if self.second_task is None else self.second_task.state()
        return {**moving_state(self.backbone, self.plan.open_groups, self._trained), **beside}

    def _load_moving(self, state: dict[str, Tensor]) -> None:
        self.backbone.model.load_state_dict(state, strict=False)
        if self.second_task is not None:
            self.second_task.load_state(state)

    def state(self) -> dict[str, Any]:
        """All that the remaining epochs depend on: tensors, numbers, text and lists only. The
        tensors are those in use, not copies.
        """
        return {
            "fingerprint": self.fingerprint,
            "model": self._moving_state(),
            "best": self._best,
            "average": None if self._average is None else self._average.state(),
            "optimizer": self.optimizer.state_dict(),
            "history": [list(r) for r in self.history],
            "confusion": [list(row) for row in self._confusion],
            "steps": self.steps.state(),
            "step_seconds": self.step_seconds,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state with this training's fingerprint; schedule and random draws follow
        from the number of epochs.
        """
        assert state["fingerprint"] == self.fingerprint, "the state of another training"
        self._load_moving(state["model"])
        self._best = state["best"]
        if self._average is not None:
            self._average.load_state(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.history = [EpochResult(*row) for row in state["history"]]
        self._confusion = tuple(map(tuple, state["confusion"]))
        self.steps.load_state(state["steps"])
        self.step_seconds = state["step_seconds"]
        self._freeze(min(len(self.history) + 1, self.plan.num_epochs))
