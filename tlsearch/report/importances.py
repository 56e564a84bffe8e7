"""Which dimensions the search's values depended on, by fANOVA."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tlsearch.report.absent import Absent
from tlsearch.study.config import StudyConfig

MIN_TRIALS = 10
"""A guess: with fewer, the forest mostly repeats its own noise."""
MAX_TRIALS = 200
"""More cost seconds and hardly change the shares."""
NUM_TREES = 32


class Importances(NamedTuple):
    """Share of the variance of the values that each dimension explains alone, largest first.

    `num_trials` of `num_complete` complete trials were used; `left_out` are dimensions that only
    some choices have, which fANOVA cannot compare with the rest.
    """

    shares: tuple[tuple[str, float], ...]
    num_trials: int
    num_complete: int
    left_out: tuple[str, ...]


def find_importances(config: StudyConfig, study: optuna.Study) -> Importances | Absent:
    """Shares of variance over the search's complete trials, the same for the same trials.

    Logarithmic ranges are compared on their logarithm: Optuna would weigh each rate by its size.
    Source: fANOVA, Hutter et al. 2014 (PMLR 32, 754).
    """
    conditional = config.space.conditional()
    names = [name for name in config.searched() if name not in conditional]
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trials = [t for t in complete if all(name in t.params for name in names)]
    if len(names) < 2:
        return Absent("Fewer than two dimensions are searched in every trial: nothing to compare.")
    if len(trials) < MIN_TRIALS:
        return Absent(
            f"Importances need {MIN_TRIALS} complete trials, and there are {len(trials)}: with "
            "fewer they would show noise."
        )
    if len({t.value for t in trials}) == 1:
        return Absent("All complete trials have the same value: nothing to explain.")
    used = _drawn(trials, seed=config.search.seed)
    shares = _fanova(used, names, seed=config.search.seed, direction=study.direction)
    return Importances(
        shares=tuple(sorted(shares.items(), key=lambda item: (-item[1], names.index(item[0])))),
        num_trials=len(used),
        num_complete=len(complete),
        left_out=conditional,
    )


def _drawn(trials: Sequence[FrozenTrial], *, seed: int) -> list[FrozenTrial]:
    if len(trials) <= MAX_TRIALS:
        return list(trials)
    rows = np.random.default_rng(seed).choice(len(trials), size=MAX_TRIALS, replace=False)
    return [trials[i] for i in sorted(rows)]


def _fanova(
    trials: Sequence[FrozenTrial], names: Sequence[str], *, seed: int, direction: Any
) -> Mapping[str, float]:
    from optuna.importance import FanovaImportanceEvaluator  # needs scikit-learn, a second

    copy = optuna.create_study(direction=direction)
    copy.add_trials([_on_log_scale(trial, names) for trial in trials])
    evaluator = FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=seed % 2**32)
    found = evaluator.evaluate(copy, params=list(names))
    return {name: float(share) for name, share in found.items()}


def _on_log_scale(trial: FrozenTrial, names: Sequence[str]) -> FrozenTrial:
    params: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for name in names:
        value, kind = trial.params[name], trial.distributions[name]
        if isinstance(kind, FloatDistribution | IntDistribution) and kind.log:
            value = math.log(value)
            kind = FloatDistribution(math.log(kind.low), math.log(kind.high))
        params[name], distributions[name] = value, kind
    return optuna.create_trial(value=trial.value, params=params, distributions=distributions)
