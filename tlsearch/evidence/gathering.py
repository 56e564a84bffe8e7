"""From what a comparison measured to the paired values that each claim is judged by."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from tlsearch.evidence.claim import Claim, Scenario
from tlsearch.evidence.columns import (
    LINEARISED,
    NotMeasured,
    ranks,
    score_agreement,
    sensitivity,
    values_of,
)
from tlsearch.evidence.paired import Paired, pool
from tlsearch.evidence.results import ComparisonResults, ScenarioResults
from tlsearch.evidence.table_claims import STRATEGIES, TAKEN_OVER, WAYS_TO_SPLIT
from tlsearch.evidence.verdicts import Evidence


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
