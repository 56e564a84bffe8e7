"""Asking a pruner so that a killed coordinator's judgement stands."""

import copy
from typing import Any

import optuna

STOPPED = "tlsearch:stopped"
"""User attribute of a trial: the epoch at which it was judged not worth going on."""


def should_stop(trial: optuna.Trial) -> bool:
    """Whether the pruner wants an end after the last report; asking again gives the same answer.

    Successive halving notes that a trial has passed a rung before it judges it. Were it asked
    anew after a kill between the two, it would let the trial go on; so its notes are held back
    until its judgement is stored.
    """
    frozen = trial.storage.get_trial(trial._trial_id)
    if frozen.user_attrs.get(STOPPED) == frozen.last_step:
        return True
    notes = _HeldBack(trial.storage)
    study = copy.copy(trial.study)
    study._storage = notes  # type: ignore[assignment]
    stop = study.pruner.prune(study, frozen)
    if stop:
        trial.set_user_attr(STOPPED, frozen.last_step)
    for trial_id, name, value in notes.held:
        trial.storage.set_trial_system_attr(trial_id, name, value)
    return stop


class _HeldBack:
    """A storage that keeps trials' system attributes for later and hands on all else."""

    def __init__(self, storage: optuna.storages.BaseStorage) -> None:
        self._storage = storage
        self.held: list[tuple[int, str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.held.append((trial_id, key, value))
