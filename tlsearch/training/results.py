"""What the loop yields, in plain numbers: it crosses process borders and is stored as it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from tlsearch.config.search_options import METRICS


class EpochResult(NamedTuple):
    """One epoch, counted from 1. Losses are means of the cross-entropy, accuracies shares; the
    training loss is weighted where the images have weights. Fields of validation that a study may
    optimise are named as in `metrics.objectives`; the area under the ROC curves, which takes a sort
    a class, is None but where the study optimises it or a training may end.

    The training figures are running means in training mode, of augmented images where there are
    such; of a mixed image the heavier label counts as right; `lr` is the head's rate at the
    epoch's last step; `max_grad_norm` the largest 2-norm of the gradient before clipping; `seconds`
    leaves out what measuring updates costs.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    max_grad_norm: float
    seconds: float
    val_balanced_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_macro_auroc: float | None = None


class FoldResult(NamedTuple):
    """One fold of a cross-validation, counted from 1, once its training has ended.

    `last_epoch` is the number of its last epoch, which runs on over folds; the figures are those of
    this epoch, and the means are over the folds so far, this one included.
    """

    fold: int
    last_epoch: int
    val_loss: float
    val_accuracy: float
    mean_val_loss: float
    mean_val_accuracy: float
    val_balanced_accuracy: float | None = None
    val_macro_f1: float | None = None
    val_macro_auroc: float | None = None
    mean_val_balanced_accuracy: float | None = None
    mean_val_macro_f1: float | None = None
    mean_val_macro_auroc: float | None = None


Ending = Literal["complete", "diverged"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a training ended.

    `chosen` is the epoch whose weights are kept: the best one with early stopping, else the
    last. `confusion` counts validation images (rows true, columns predicted). `images_trained`,
    `seconds` and those of the steps alone, without validation, leave out what an interruption threw
    away. `measures` are those that the job
    names; not a number where one cannot be taken.

    A cross-validation holds `folds`; the numbers of its `epochs` run on over them, its confusion is
    summed over them, and each has a chosen epoch of its own, so `chosen` is None.
    """

    ending: Ending
    reason: str
    epochs: tuple[EpochResult, ...]
    chosen: EpochResult | None
    confusion: tuple[tuple[int, ...], ...]
    max_grad_norm: float
    images_trained: int
    seconds: float
    step_seconds: float
    folds: tuple[FoldResult, ...]
    measures: Mapping[str, float]

    def until(self, epoch: int) -> "TrainResult":
        """As it stood after an epoch; the steps of all epochs took the same time, as a guess."""
        epochs, share = self.epochs[:epoch], epoch / len(self.epochs)
        return replace(
            self,
            ending="complete",
            reason="",
            epochs=epochs,
            chosen=None,
            confusion=(),
            max_grad_norm=max(result.max_grad_norm for result in epochs),
            images_trained=round(self.images_trained * share),
            seconds=sum(result.seconds for result in epochs),
            step_seconds=self.step_seconds * share,
        )

    def value(self, metric: str) -> float:
        """What a complete training came to: the mean over folds, or the last epoch's figure. With
        early stopping as well, whose best epoch has the best of many noisy figures: a search that
        took it would prefer early stopping for that alone.
        """
        if self.folds:
            return float(getattr(self.folds[-1], f"mean_{metric}"))
        return float(getattr(self.epochs[-1], metric))


def best_epoch(history: Sequence[EpochResult], *, metric: str) -> EpochResult:
    """The epoch that is best by the metric; of equals the first: a later tie is no improvement."""
    best = max if METRICS[metric].maximise else min
    return best(history, key=lambda result: float(getattr(result, metric)))
