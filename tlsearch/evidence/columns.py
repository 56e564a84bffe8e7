"""One arm's values of a statistic in one scenario, from answers, sweeps, tuning or measures."""

import re
from collections.abc import Callable, Iterable

import numpy as np

from tlsearch.evidence.linearised import by_images
from tlsearch.evidence.measures.splits import estimate_spread
from tlsearch.evidence.measures.sweeps import (
    mean_rank,
    score_correlation,
    trials_to_come_within,
    usable_decades,
)
from tlsearch.evidence.results import ArmResults, ScenarioResults, SweepResults
from tlsearch.evidence.statistics import STATISTICS

_CLOSE = 0.01  # of accuracy, to "come within" the best (claims.md, A1)
_USABLE = 0.02  # of accuracy, within which a rate will do (claims.md, A5)
_FEWEST_RANKED = 3  # two are in the right order every other time
_RATE, _DEPTH = "lr", "freeze_depth"

LINEARISED = ("mean_rank", "usable_decades", "best_freeze_depth")
"""Statistics of answers that are no mean over images: see `by_images`."""


class NotMeasured(Exception):  # noqa: N818  - no error: a table says why a cell is empty
    """Why a scenario holds no values; the text is a phrase for the reader."""


def values_of(statistic: str, arm: str, place: ScenarioResults) -> np.ndarray:
    """Answers (seeds, images) or values (seeds, groups) that vary with images; else (repeats,).

    Raises:
        NotMeasured: the arm, its sweep or its figure is missing here.
    """
    match statistic:
        case "accuracy":
            return _some(_arm(arm, place).answers.astype(float), statistic, arm)
        case "best_freeze_depth":
            return _best_depth(arm, place)
        case "usable_decades":
            return _usable_decades(_sweep(place, arm, (_RATE,)))
        case "divergence_share":
            sweep = _sweep(place, arm, (_RATE,))
            return np.where(_whole_seeds(sweep), sweep.diverged.mean(axis=0), np.nan)
        case "trials_to_come_within":
            tuning = _some(_arm(arm, place).tuning, "tuning trial", arm)
            return np.array([float(trials_to_come_within(tuning, margin=_CLOSE))])
        case "estimate_spread":
            return estimate_spread(values_of("estimate", arm, place))
    found = np.asarray(_arm(arm, place).values.get(statistic, ()), dtype=float)
    return _some(found, statistic, arm)


def sensitivity(
    place: ScenarioResults, arm: str, swept: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Answers (seeds, images) at the best and at the worst setting of a sweep.

    Row s is of the settings that all other seeds' mean validation accuracy names: a seed that
    chose for itself would bring its luck to the test and make any sweep look as if it mattered.

    Raises:
        NotMeasured: there is no such sweep, or it has a single setting or seed.
    """
    found = _sweep(place, arm, swept)
    whole = _whole_seeds(found)
    settings, seeds = found.validation.shape
    if settings < 2 or whole.sum() < 2:
        raise NotMeasured(f"the sweep of {arm} needs two settings and two seeds")
    of_whole = np.where(whole, found.validation, 0.0)
    others = of_whole.sum(axis=1, keepdims=True) - of_whole
    rows = np.arange(seeds)
    answers = np.where(whole[:, None], found.answers, np.nan)
    return answers[others.argmax(axis=0), rows], answers[others.argmin(axis=0), rows]


def score_agreement(place: ScenarioResults, score: str) -> np.ndarray:
    """How well a score of the networks ranks them by the mean test accuracy of their arms, (1,).

    Every arm counts that has the score, whatever its name.

    Raises:
        NotMeasured: fewer than three networks have both, or all score or read alike.
    """
    pairs = []
    for arm in place.arms.values():
        accuracy = arm.answers[np.isfinite(arm.answers).all(axis=1)].mean()
        pairs.append((np.mean(arm.values.get(score, np.nan)), accuracy))
    found = np.array([pair for pair in pairs if np.isfinite(pair).all()])
    if len(found) < _FEWEST_RANKED:
        raise NotMeasured("fewer than three networks have the score and a test accuracy")
    tau = score_correlation(found[:, 0], found[:, 1])
    if not np.isfinite(tau):
        raise NotMeasured("all networks score alike, or read alike")
    return np.array([tau])


def ranks(place: ScenarioResults, arms: Iterable[str]) -> dict[str, np.ndarray]:
    """Rank of each arm by each seed's test accuracy, 1 the best; values as of `by_images`."""
    names = list(arms)
    answers = np.array([values_of("accuracy", name, place) for name in names])

    def rank(answers: np.ndarray) -> np.ndarray:
        scores = answers.mean(axis=-1)
        whole = np.isfinite(scores).all(axis=0)
        found = np.full(scores.shape, np.nan)
        for seed in np.flatnonzero(whole):
            found[:, seed] = mean_rank(scores[None, :, seed])
        return found

    return dict(zip(names, by_images(rank, answers), strict=True))


def _arm(name: str, place: ScenarioResults) -> ArmResults:
    if name not in place.arms:
        raise NotMeasured(f"{name} is no arm of the comparison")
    return place.arms[name]


def _sweep(place: ScenarioResults, arm: str, swept: tuple[str, ...]) -> SweepResults:
    """All sweeps of an arm over these dimensions as one; none named: all but those of the rate."""
    _arm(arm, place)
    found = [
        sweep
        for sweep in place.sweeps
        if sweep.arm == arm and (sweep.dimension in swept if swept else sweep.dimension != _RATE)
    ]
    if not found:
        over = " or ".join(swept) or "its own settings"
        raise NotMeasured(f"{arm} was not swept over {over}")
    return SweepResults(
        arm,
        found[0].dimension,
        tuple(setting for sweep in found for setting in sweep.settings),
        np.concatenate([sweep.validation for sweep in found]),
        np.concatenate([sweep.answers for sweep in found]),
        np.concatenate([sweep.diverged for sweep in found]),
    )


def _usable_decades(sweep: SweepResults) -> np.ndarray:
    rates = np.asarray(sweep.settings, dtype=float)
    order = rates.argsort()

    def width(answers: np.ndarray) -> np.ndarray:
        scores = answers.mean(axis=-1)[order]
        return _of_seeds(scores, lambda found: usable_decades(rates[order], found, margin=_USABLE))

    return by_images(width, sweep.answers.astype(float))


def _best_depth(arm: str, place: ScenarioResults) -> np.ndarray:
    """Of the arms "`arm` 0", "`arm` 1", … the depth with the best test accuracy in each seed.

    The depth is that of the arm's configuration, whatever its name says. Depths that tie share
    their mean, so that equal depths favour no end.
    """
    names = [name for name in place.arms if re.fullmatch(rf"{re.escape(arm)} \d+", name)]
    depths = np.array([int(place.arms[name].params[_DEPTH]) for name in names])
    if len(names) < 2:
        raise NotMeasured(f'no two arms are named "{arm} 0", "{arm} 1" and so on')
    if len(set(depths)) < 2:
        raise NotMeasured(f'all arms "{arm} N" freeze to the same depth')

    def best(answers: np.ndarray) -> np.ndarray:
        scores = answers.mean(axis=-1)
        return _of_seeds(scores, lambda found: float(depths[found == found.max()].mean()))

    return by_images(best, np.array([values_of("accuracy", name, place) for name in names]))


def _of_seeds(scores: np.ndarray, number: Callable[[np.ndarray], float]) -> np.ndarray:
    """`number` of each column of (arms or settings, seeds); no number where a run is missing."""
    whole = np.isfinite(scores).all(axis=0)
    pairs = zip(scores.T, whole, strict=True)
    return np.array([number(column) if is_whole else np.nan for column, is_whole in pairs])


def _whole_seeds(sweep: SweepResults) -> np.ndarray:
    """Which seeds have run at every setting, (seeds,)."""
    return np.asarray(np.isfinite(sweep.validation).all(axis=0))


def _some(values: np.ndarray, statistic: str, arm: str) -> np.ndarray:
    if not values.size or not np.isfinite(values).any():
        known = STATISTICS.get(statistic)
        raise NotMeasured(f"{arm} has no {known.wording if known else statistic}")
    return values
