"""From what a comparison measured to the paired values that each claim is judged by."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tlsearch.comparison.claims import STRATEGIES, TAKEN_OVER, WAYS_TO_SPLIT, Claim, Scenario
from tlsearch.comparison.results import (
    ArmResults,
    ComparisonResults,
    ScenarioResults,
    SweepResults,
    by_images,
)
from tlsearch.comparison.statistics import STATISTICS
from tlsearch.comparison.variance import Paired, pool
from tlsearch.comparison.verdicts import Evidence
from tlsearch.metrics.sweeps import (
    estimate_spread,
    mean_rank,
    score_correlation,
    trials_to_come_within,
    usable_decades,
)

# One arm's values of a statistic in one scenario, from answers, sweeps, tuning or measures.


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


class Gathered(NamedTuple):
    """What a claim is judged by, and the scenarios that it rests on.

    `repeats` is the number of seeds or redraws in each scenario; `num_images` that of different
    test images, 0 for values that do not vary with them; `notes` name scenarios that were left
    out, and why.
    """

    evidence: Evidence
    scenarios: tuple[str, ...]
    repeats: int
    num_images: int
    notes: tuple[str, ...]


class Described(NamedTuple):
    """A fact without chance: a figure or a text."""

    value: float | None
    text: str | None


class Missing(NamedTuple):
    """Why a claim was not measured, as a phrase for the reader."""

    reason: str


def gather(claim: Claim, results: ComparisonResults) -> Gathered | Described | Missing:
    """The paired values of a claim from all scenarios that it speaks of.

    Raises:
        ValueError: arms of a scenario, or scenarios of one block, have other seeds or images.
    """
    places = fitting(results, claim.scenario)
    if not places:
        return Missing(f"no scenario is {in_words(claim.scenario)}")
    try:
        if claim.measure.repeat == "none":
            return _described(claim, places)
        if claim.elsewhere is not None:
            return _enough(_between(claim, places, fitting(results, claim.elsewhere)))
        return _enough(_everywhere(claim, places))
    except NotMeasured as why:
        return Missing(str(why))


def fitting(results: ComparisonResults, wanted: Scenario) -> list[ScenarioResults]:
    """The scenarios that have all traits that `wanted` names."""
    return [place for place in results.scenarios if wanted.includes(place.traits)]


def in_words(kind: Scenario) -> str:
    """A kind of scenario for the reader: `dissimilar, with many labels`."""
    words = {"labels": "with {} labels", "order": "in order of {}"}
    return ", ".join(words.get(k, "{}").format(v) for k, v in kind.named().items())


def rows_among(arms: Iterable[str]) -> list[str]:
    """The arms that are rows of the documents' tables; variants and baselines are none."""
    rows = {**STRATEGIES, **WAYS_TO_SPLIT}
    return [arm for arm in arms if arm in rows]


def _everywhere(claim: Claim, places: list[ScenarioResults]) -> Gathered:
    """Pairs of each scenario that has them.

    Raises:
        NotMeasured: none has.
    """
    pairs: dict[str, Paired] = {}
    reasons: dict[str, str] = {}
    for place in places:
        try:
            pairs[place.name] = _pair(claim, place)
        except NotMeasured as why:
            reasons[place.name] = str(why)
    if not pairs:
        raise NotMeasured("; ".join(dict.fromkeys(reasons.values())))
    notes = tuple(f"{name}: left out, {why}" for name, why in reasons.items())
    repeats = max(len(pair.arm) for pair in pairs.values())
    if claim.measure.repeat == "scenario":
        pairs = {"all": _stacked(list(pairs.values()))}
    elif claim.statistic in LINEARISED:
        pairs = _moved_by_images(pairs)
    used = [place for place in places if place.name not in reasons]
    return Gathered(Evidence(claim, pairs), _names(used), repeats, _images(claim, used), notes)


def _pair(claim: Claim, place: ScenarioResults) -> Paired:
    if claim.statistic == "sensitivity":
        return Paired(*sensitivity(place, claim.arm, claim.swept), place.block)
    if claim.statistic == "score_correlation":
        return Paired(score_agreement(place, claim.swept[0]), None, place.block)
    if claim.statistic == "mean_rank":
        return _rank(claim.arm, place)
    arm = values_of(claim.statistic, claim.arm, place)
    if claim.reference is None:
        return Paired(arm, None, place.block)
    if claim.reference != "others":
        return Paired(arm, values_of(claim.statistic, claim.reference, place), place.block)
    others = [
        values_of(claim.statistic, other, place)
        for other in rows_among(place.arms)
        if other != claim.arm
    ]
    if not others:
        raise NotMeasured(f"{claim.arm} has no other arm beside it")
    return Paired(arm, np.mean(others, axis=0), place.block)


def _rank(arm: str, place: ScenarioResults) -> Paired:
    """The arm's rank and the mean of all other rows'."""
    found = ranks(place, dict.fromkeys([arm, *rows_among(place.arms)]))
    own = found.pop(arm)
    if not found:
        raise NotMeasured(f"{arm} has no other arm beside it")
    return Paired(own, np.mean(list(found.values()), axis=0), place.block)


def _stacked(pairs: Sequence[Paired]) -> Paired:
    """Single numbers of scenarios as the rows of one pair."""
    arm = np.concatenate([pair.arm for pair in pairs])
    references = [pair.reference for pair in pairs if pair.reference is not None]
    return Paired(arm, np.concatenate(references) if references else None, "all")


def _moved_by_images(pairs: dict[str, Paired]) -> dict[str, Paired]:
    """As they are, or as one number a seed where no group of images moves any difference.

    A strategy that is first whichever images are left out shows no noise of theirs, and its seeds
    alone decide.
    """
    for pair in pairs.values():
        other = np.zeros_like(pair.arm) if pair.reference is None else pair.reference
        if pair.arm.ndim == 1 or (np.ptp(pair.arm - other, axis=1) > 1e-9).any():
            return pairs
    return {  # rounded, so that equal differences stay equal
        name: Paired(
            pair.arm.mean(axis=1).round(9),
            None if pair.reference is None else pair.reference.mean(axis=1).round(9),
            pair.block,
        )
        for name, pair in pairs.items()
    }


def _names(places: Sequence[ScenarioResults]) -> tuple[str, ...]:
    return tuple(place.name for place in places)


def _images(claim: Claim, places: Sequence[ScenarioResults]) -> int:
    """Test images that a claim rests on, those that scenarios share counted once."""
    if claim.measure.repeat != "answers":
        return 0
    blocks = {place.block: place for place in places}
    arms = [next(iter(place.arms.values())) for place in blocks.values()]
    return sum(arm.answers.shape[1] for arm in arms)


def _between(
    claim: Claim, places: list[ScenarioResults], elsewhere: list[ScenarioResults]
) -> Gathered:
    """One kind of scenario against another: means over each kind's scenarios, seed by seed.

    Raises:
        NotMeasured: there is none of the other kind, or one lacks the values.
    """
    assert claim.elsewhere is not None
    assert claim.reference is not None
    if not elsewhere:
        raise NotMeasured(f"no scenario is {in_words(claim.elsewhere)}")
    here = [values_of(claim.statistic, claim.arm, place) for place in places]
    there = [values_of(claim.statistic, claim.reference, place) for place in elsewhere]
    pairs = {"all": Paired(np.mean(here, axis=0), np.mean(there, axis=0), "all")}
    if claim.statistic in LINEARISED:
        pairs = _moved_by_images(pairs)
    used = (*places, *elsewhere)
    repeats = len(pairs["all"].arm)
    return Gathered(Evidence(claim, pairs), _names(used), repeats, _images(claim, used), ())


def _enough(found: Gathered) -> Gathered | Missing:
    """Without two pairs a claim cannot be judged: it then stands beside its table, not in it."""
    claim, scenarios = found.evidence
    pooled = pool(scenarios, as_log=claim.measure.unit == "log ratio")
    if pooled.blocks:
        return found
    if claim.measure.repeat == "scenario":
        return Missing("it takes two scenarios, since each gives one number")
    return Missing("; ".join(pooled.notes))


def _described(claim: Claim, places: list[ScenarioResults]) -> Described:
    """A figure as its mean over the scenarios and seeds that have one.

    Raises:
        NotMeasured: none has.
    """
    here = [place for place in places if claim.arm in place.arms]
    if not here:
        raise NotMeasured(f"{claim.arm} is no arm of the comparison")
    if claim.statistic == "knowledge":
        return Described(None, TAKEN_OVER[claim.id])
    if claim.statistic == "settings":
        return Described(float(np.mean([place.arms[claim.arm].settings for place in here])), None)
    values = [values_of(claim.statistic, claim.arm, place) for place in here]
    return Described(float(np.mean([np.mean(v[np.isfinite(v)]) for v in values])), None)
