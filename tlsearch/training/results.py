"""What the loop yields, in plain numbers: it crosses process borders and is stored as it is."""

from dataclasses import dataclass
from typing import Literal, NamedTuple


class EpochResult(NamedTuple):
    """One epoch, counted from 1. Losses are means of the cross-entropy, accuracies shares.

    The training figures are running means in training mode; `lr` is the head's rate at the
    epoch's last step; `max_grad_norm` the largest 2-norm of the gradient before clipping.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    lr: float
    max_grad_norm: float
    seconds: float


Ending = Literal["complete", "diverged"]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a training ended.

    `chosen` is the epoch whose weights are kept: the best one with early stopping, else the
    last. `confusion` counts validation images (rows true, columns predicted). `images_trained`
    and `seconds` leave out what an interruption threw away.
    """

    ending: Ending
    reason: str
    epochs: tuple[EpochResult, ...]
    chosen: EpochResult | None
    confusion: tuple[tuple[int, ...], ...]
    max_grad_norm: float
    images_trained: int
    seconds: float
