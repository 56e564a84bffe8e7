"""Which dimensions the search's values depended on, by fANOVA."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from tlsearch.config.schema import StudyConfig
from tlsearch.report.wording import Absent

MIN_TRIALS = 10
"""A guess: with fewer, the forest mostly repeats its own noise."""
MAX_TRIALS = 100
"""More cost seconds, most of them for the spread."""
NUM_TREES = 32
NUM_RESAMPLES, TREES_OF_RESAMPLE = 8, 12


class Share(NamedTuple):
    """What a dimension explains by itself, and by how much that might have come out otherwise: the
    standard deviation over resamples of the trials.
    """

    name: str
    share: float
    spread: float


class Importances(NamedTuple):
    """Share of the variance of the values that each dimension explains alone, largest first.

    `num_trials` of `num_complete` complete trials were used; `left_out` are dimensions that only
    some choices have, which fANOVA cannot compare with the rest; `unvaried` those that had a single
    value in all trials that were used.
    """

    shares: tuple[Share, ...]
    num_trials: int
    num_complete: int
    left_out: tuple[str, ...]
    unvaried: tuple[str, ...]


def leading(names: Iterable[str], found: Importances | Absent, *, most: int) -> tuple[str, ...]:
    """The dimensions to show where there are too many: those that mattered most, in their order."""
    names, shares = list(names), {}
    if isinstance(found, Importances):
        shares = {share.name: share.share for share in found.shares}
    kept = set(sorted(names, key=lambda name: -shares.get(name, 0.0))[:most])
    return tuple(name for name in names if name in kept)


def find_importances(config: StudyConfig, study: optuna.Study) -> Importances | Absent:
    """Shares of variance over the search's complete trials, the same for the same trials.

    Logarithmic ranges are compared on their logarithm: Optuna would weigh each rate by its size.

    The spread is a bootstrap of the trials. Tried on a known function of six dimensions with 25
    searches of 20 random trials, whose three largest shares had standard deviations of 0.19, 0.15
    and 0.09, the bootstrap said 0.18, 0.17 and 0.11; the trees of one forest, fANOVA's own spread,
    0.27, 0.21 and 0.18; forests of other seeds 0.05, 0.04 and 0.03.

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
    used = _drawn(trials, seed=config.search.seed)
    if len({t.value for t in used}) == 1:
        which = "All" if len(used) == len(trials) else f"{len(used)} of {len(trials)}"
        return Absent(f"{which} complete trials have the same value: nothing to explain.")
    scaled = [_on_log_scale(trial, names) for trial in used]
    seed, direction = config.search.seed, study.direction
    shares = _fanova(scaled, names, trees=NUM_TREES, seed=seed, direction=direction)
    spreads = _spreads(scaled, names, seed=seed, direction=direction)
    if shares is None or spreads is None:
        return Absent("Nearly all complete trials have the same value: too little to explain.")
    unvaried = [name for name in names if len({trial.params[name] for trial in used}) == 1]
    found = [Share(n, shares[n], spreads[n]) for n in names if n not in unvaried]
    return Importances(
        shares=tuple(sorted(found, key=lambda share: -share.share)),
        num_trials=len(used),
        num_complete=len(complete),
        left_out=conditional,
        unvaried=tuple(unvaried),
    )


def _drawn(trials: Sequence[FrozenTrial], *, seed: int) -> list[FrozenTrial]:
    if len(trials) <= MAX_TRIALS:
        return list(trials)
    rows = np.random.default_rng(seed).choice(len(trials), size=MAX_TRIALS, replace=False)
    return [trials[i] for i in sorted(rows)]


def _spreads(
    trials: Sequence[FrozenTrial], names: Sequence[str], *, seed: int, direction: Any
) -> Mapping[str, float] | None:
    """Standard deviations of the shares over draws of as many trials with replacement; None where
    hardly a draw holds the few trials whose values differ.
    """
    rng, found = np.random.default_rng(seed), []
    for i in range(NUM_RESAMPLES):
        drawn = [trials[k] for k in rng.integers(len(trials), size=len(trials))]
        shares = _fanova(drawn, names, trees=TREES_OF_RESAMPLE, seed=seed + i, direction=direction)
        if shares is not None:
            found.append([shares[name] for name in names])
    if len(found) < 2:
        return None
    return dict(zip(names, np.std(found, axis=0, ddof=1).tolist(), strict=True))


def _fanova(
    trials: Sequence[FrozenTrial], names: Sequence[str], *, trees: int, seed: int, direction: Any
) -> Mapping[str, float] | None:
    """Shares; None where no tree has seen two values."""
    from optuna.importance import FanovaImportanceEvaluator  # needs scikit-learn, a second

    copy = optuna.create_study(direction=direction)
    copy.add_trials(trials)
    evaluator = FanovaImportanceEvaluator(n_trees=trees, seed=seed % 2**32)
    try:
        found = evaluator.evaluate(copy, params=list(names))
    except RuntimeError as error:
        if "zero total variance" in str(error):
            return None
        raise
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
