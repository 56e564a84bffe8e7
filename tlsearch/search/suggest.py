"""From a declared dimension to Optuna's suggestion for it."""

from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import _filter_study

from tlsearch.study.dimensions import Choice, Dimension, Range


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
