"""Cross-validation: one training after another, with the face of a single one."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from statistics import fmean
from typing import Any

import numpy as np

from tlsearch.config.search_options import METRICS
from tlsearch.errors import DivergenceError
from tlsearch.models.backbones import Backbone
from tlsearch.training.batches import TrainingData, fingerprint
from tlsearch.training.results import Ending, EpochResult, FoldResult, TrainResult
from tlsearch.training.trainer import Trainer


class CrossValidation:
    """Trains each fold to its end before the next; a `Trainer` to all who handle one.

    The numbers of epochs run on over folds. Only one network is in memory at a time: `make` builds
    that of a fold, each with the same initial weights, so that folds differ in their images alone.

    Raises:
        WorkError: activations of the frozen groups cannot be written.
    """

    def __init__(
        self, make: Callable[[TrainingData], Trainer], *, folds: Sequence[TrainingData]
    ) -> None:
        self._make, self._data = make, tuple(folds)
        self._trainer = make(self._data[0])
        self._index = 0
        self.history: list[EpochResult] = []
        self._folds: list[FoldResult] = []
        self._ended: list[TrainResult] = []
        # Of the request: the first fold's, and the images of all.
        digest = blake2b(f"{len(self._data)} {self._trainer.fingerprint}".encode(), digest_size=16)
        for data in self._data:
            digest.update(fingerprint(data).encode())
        self.fingerprint = digest.hexdigest()

    @property
    def backbone(self) -> Backbone:
        """The network of the fold that trains, or trained last."""
        return self._trainer.backbone

    @property
    def finished(self) -> bool:
        """Whether all folds have ended."""
        return len(self._folds) == len(self._data)

    def fold_ended(self, result: EpochResult) -> FoldResult | None:
        """The fold that ended with this epoch, if one did."""
        return next((f for f in self._folds if f.last_epoch == result.epoch), None)

    def epochs(self) -> Iterator[EpochResult]:
        """Train the epochs that are left, one at a time.

        Raises:
            DivergenceError: a fold diverged; the message names it.
        """
        while not self.finished:
            if len(self._folds) > self._index:
                self._open(self._index + 1)
            offset = self._folds[-1].last_epoch if self._folds else 0
            try:
                for result in self._trainer.epochs():
                    numbered = result._replace(epoch=offset + result.epoch)
                    self.history.append(numbered)
                    if self._trainer.finished:
                        self._close()
                    yield numbered
            except DivergenceError as error:
                raise DivergenceError(f"fold {self._index + 1}: {error}") from None

    def _open(self, index: int) -> None:
        del self._trainer  # first: two networks would not fit where one does
        self._trainer, self._index = self._make(self._data[index]), index

    def _close(self) -> None:
        result = self._trainer.finish()
        last = result.epochs[-1]
        values: dict[str, list[Any]] = {
            name: [*(getattr(fold, name) for fold in self._folds), getattr(last, name)]
            for name in METRICS
        }
        self._ended.append(replace(result, epochs=(), chosen=None))
        last_ones: dict[str, Any] = {name: found[-1] for name, found in values.items()}
        means: dict[str, Any] = {
            f"mean_{name}": None if None in found else fmean(found)
            for name, found in values.items()
        }
        number, ended = self._index + 1, len(self.history)
        self._folds.append(FoldResult(fold=number, last_epoch=ended, **last_ones, **means))

    def finish(self) -> TrainResult:
        """Sum up; the network that is left is the last fold's."""
        counts = np.sum([result.confusion for result in self._ended], axis=0)
        confusion = tuple(map(tuple, counts.tolist()))
        return self.summary("complete", reason="", confusion=confusion)

    def summary(
        self, ending: Ending, *, reason: str, confusion: tuple[tuple[int, ...], ...]
    ) -> TrainResult:
        """The trainings so far as one result."""
        parts = list(self._ended)
        if len(parts) == self._index:  # the fold that trains
            parts.append(self._trainer.summary(ending, reason="", confusion=()))
        return TrainResult(
            ending=ending,
            reason=reason,
            epochs=tuple(self.history),
            chosen=None,
            confusion=confusion,
            max_grad_norm=max(part.max_grad_norm for part in parts),
            images_trained=sum(part.images_trained for part in parts),
            seconds=sum(part.seconds for part in parts),
            step_seconds=sum(part.step_seconds for part in parts),
            folds=tuple(self._folds),
            measures={},
        )

    def state(self) -> dict[str, Any]:
        """All that the remaining epochs depend on, as `Trainer.state`; of folds that have ended,
        figures alone.
        """
        is_open = len(self._folds) == self._index
        return {
            "fingerprint": self.fingerprint,
            "index": self._index,
            "trainer": self._trainer.state() if is_open else None,
            "history": [list(r) for r in self.history],
            "folds": [list(f) for f in self._folds],
            "ended": [asdict(result) for result in self._ended],
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from a state with this fingerprint: within a fold, or before the next."""
        assert state["fingerprint"] == self.fingerprint, "the state of another training"
        self.history = [EpochResult(*row) for row in state["history"]]
        self._folds = [FoldResult(*row) for row in state["folds"]]
        self._ended = [TrainResult(**result) for result in state["ended"]]
        index, trainer = state["index"], state["trainer"]
        if trainer is not None:
            if index != self._index:
                self._open(index)
            self._trainer.load_state(trainer)
        self._index = index


Training = Trainer | CrossValidation
"""What a worker trains, checkpoints and sums up."""
