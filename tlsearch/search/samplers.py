"""Optuna's samplers from the study's options."""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner, _filter_study
from optuna.samplers import BaseSampler

from tlsearch.config.dimensions import Choice, Dimension, Range
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_checks import pruning_steps
from tlsearch.config.search_options import Grid, Qmc


def make_sampler(config: StudyConfig, *, seed: int) -> BaseSampler:
    """The sampler for one trial; `seed` is the trial's own, below 2**32.

    Grid and quasi-random points are sequences of their own, so they take the study's seed.
    """
    with warnings.catch_warnings():
        # A user who names a sampler in the study has no use for the news that it is experimental.
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        options = config.search.sampler
        arguments = options.arguments(config)
        if isinstance(options, Qmc | Grid):
            arguments["seed"] = config.search.seed
        else:
            arguments["seed"] = seed
        if isinstance(options, Qmc):
            arguments["independent_sampler"] = optuna.samplers.RandomSampler(seed=seed)
            arguments["warn_asynchronous_seeding"] = False
        made: BaseSampler = getattr(optuna.samplers, options.optuna_name)(**arguments)
        return made


# Optuna's pruners from the study's options; steps are epochs, or folds where there are several.
#
# Both count from 1.


def make_pruner(config: StudyConfig) -> BasePruner:
    """The pruner of the study."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=optuna.exceptions.ExperimentalWarning)
        options, (num_steps, _) = config.search.pruner, pruning_steps(config)
        made: BasePruner = getattr(optuna.pruners, options.optuna_name)(
            **options.arguments(num_steps)
        )
        return made


# From a declared dimension to Optuna's suggestion for it.


def suggest_with(trial: optuna.Trial) -> Callable[[str, Dimension], Any]:
    """The function that `Space.assign` asks for each searched dimension.

    A coordinator that was killed while it asked leaves a trial with some of its values. They are
    drawn again and thrown away, so that the rest are those that would have followed.
    """
    known: Mapping[str, BaseDistribution] = dict(trial.distributions)
    if known:
        _ = trial.relative_params  # drawn first, as for a new trial

    def suggest(name: str, dimension: Dimension) -> Any:
        if name in known and name not in trial.relative_params:
            _draw_again(trial, name, known[name])
        match dimension:
            case Choice():
                return trial.suggest_categorical(name, list(dimension.values))
            case Range(low, high, log, step) if dimension.whole:
                return trial.suggest_int(name, int(low), int(high), step=int(step or 1), log=log)
            case Range(low, high, log, step):
                return trial.suggest_float(name, low, high, step=step, log=log)
        raise AssertionError(f"{name}: a fixed dimension is not searched")

    return suggest


def _draw_again(trial: optuna.Trial, name: str, distribution: BaseDistribution) -> None:
    """Take from the sampler's random numbers what the value of `name` took."""
    if not distribution.single():
        frozen = trial.storage.get_trial(trial._trial_id)
        study = _filter_study(trial.study, frozen)
        trial.study.sampler.sample_independent(study, frozen, name, distribution)


# Asking a pruner so that a killed coordinator's judgement stands.


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
