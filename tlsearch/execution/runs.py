"""What a run is and what is known of it: the scheduler, the store and every report speak of these.

A run carries its place in fields. Its key names files and MLflow's children; nobody parses it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from tlsearch.config.schema import BACKBONE
from tlsearch.config.strategy import ALL, Strategy
from tlsearch.training.results import EpochResult, FoldResult

Role = Literal["trial", "baseline", "confirm", "sweep"]
Ending = Literal["complete", "pruned", "diverged", "failed"]
OPEN = ("running", "waiting", "paused")
"""States of a run that has no ending."""

BASELINE_LABELS: Mapping[str, str] = {
    "linear_probe": "linear probe",
    "full_fine_tuning": "full fine-tuning",
    "from_scratch": "from scratch",
    "best_trial": "the best trial",
}
"""The last stands among them where one of them wins."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training that a study wants, apart from how often it was started.

    `scenario` and `arm` place it in a comparison and are empty in a search. `name` is which
    baseline it is, or which dimension a sweep sets to what. `trial` is the number in Optuna of the
    sampled trial that it is or repeats, None where nothing was sampled. `seed` seeds the training;
    `redraw` 0 is the study's own split, others redraw all of it but the test part.

    `params` are flat and complete. `folds`, counted from 0, are those of the split that it trains,
    for `num_epochs` each; more than one are a cross-validation. `backbone` is the network.
    """

    study: str
    scenario: str
    arm: str
    role: Role
    name: str
    trial: int | None
    seed: int
    redraw: int
    params: Mapping[str, Any]
    init: Literal["pretrained", "random"]
    folds: tuple[int, ...]
    num_epochs: int
    backbone: str

    @property
    def key(self) -> str:
        """Its name among all runs of its study: of its files, and of its child in MLflow."""
        number = "as-given" if self.trial is None else f"{self.trial:04d}"
        match self.role:
            case "trial":
                key = f"trial-{number}"
            case "baseline":
                tuned = "" if self.trial is None else f"-{number}"
                key = f"{self.name}{tuned}-seed-{self.redraw}"
            case "confirm":
                key = f"confirm-{number}-seed-{self.redraw}"
            case "sweep":
                key = f"sweep-{number}-{self.name}-seed-{self.redraw}"
        return f"{self.arm}@{self.scenario}.{key}".replace(" ", "_") if self.arm else key

    @property
    def label(self) -> str:
        """Its name for readers: `trial 7 again, seed 1`."""
        words = []
        if self.arm:
            words.append(f"{self.arm} in {self.scenario}")
        if self.role == "trial":
            words.append(f"trial {self.trial}")
        elif self.role == "baseline":
            words.append(BASELINE_LABELS[self.name])
            if self.trial is not None:
                words.append(f"trial {self.trial}")
        elif self.role == "sweep":
            words.append(self.name.replace("=", " = "))
        elif not self.arm:
            words.append(f"trial {self.trial} again")
        if self.redraw or (self.role != "trial" and self.trial is None):
            words.append(f"seed {self.redraw}")
        return ", ".join(words)

    @property
    def total_epochs(self) -> int:
        """Epochs over all folds."""
        return self.num_epochs * len(self.folds)

    def steps(self, epochs: Sequence[EpochResult], folds: Sequence[FoldResult]) -> int:
        """How far it has come with these, as pruners and races count: in epochs, or in folds where
        it trains several.
        """
        return len(folds if len(self.folds) > 1 else epochs)

    @cached_property
    def strategy(self) -> Strategy:
        """The strategy that `params` describe."""
        params = {name: value for name, value in self.params.items() if name != BACKBONE}
        return Strategy.from_params(params, init=self.init)

    @property
    def scope(self) -> str:
        """What of the network trains, in a few words: `freeze 3`, `train norms`; of several
        networks which one: `resnet18, freeze 3`.
        """
        trained = self.params["trained"]
        network = f"{self.params[BACKBONE]}, " if BACKBONE in self.params else ""
        scope = f"freeze {self.params['freeze_depth']}" if trained == ALL else f"train {trained}"
        return f"{network}{scope}"


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run as the store knows it; `state` is "running", "waiting" or, of a trial at a rung of a
    race, "paused" before it has an ending.

    `number` is that of its trial in Optuna. `measures` are empty where none were wanted; not a
    number where one could not be taken. `start` says where the values of one of the first trials
    are from; "" where they were sampled.
    """

    run: Run
    number: int
    state: str
    value: float | None
    reason: str
    epochs: tuple[EpochResult, ...]
    folds: tuple[FoldResult, ...]
    max_grad_norm: float
    measures: Mapping[str, float]
    images_trained: int
    seconds: float
    step_seconds: float | None
    started: Any
    ended: Any
    sampled: Mapping[str, Any]
    start: str = ""

    @property
    def steps(self) -> int:
        """Epochs, or folds, that it has trained."""
        return self.run.steps(self.epochs, self.folds)

    @property
    def val_loss(self) -> float:
        """The validation loss of the last epoch, as `value` is of it; over folds their mean.
        Infinite where the store holds none.
        """
        if self.folds:
            return self.folds[-1].mean_val_loss
        return self.epochs[-1].val_loss if self.epochs else math.inf
