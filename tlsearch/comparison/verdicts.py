"""From what a comparison measured to verdicts: one path for every claim of every table.

All decisions of a family (a table, in one scenario or pooled over all) are read off one t interval
a claim, at the level that Holm's correction leaves it: so no verdict can be at odds with its
interval, and identical arms give a false *supported* or *contradicted* in at most `ALPHA` of
tables.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from tlsearch.comparison.answers import Answered, ClaimAnswer
from tlsearch.comparison.claims import TAKEN_OVER, Claim
from tlsearch.comparison.design import ComparisonResults, ScenarioResults
from tlsearch.comparison.power import ALPHA, MoreSeeds, seeds_to_settle
from tlsearch.comparison.statistics import (
    NotMeasured,
    Unit,
    rows_among,
    score_correlation,
    sensitivity,
    values_of,
)
from tlsearch.comparison.variance import (
    Paired,
    Pooled,
    bca,
    interval,
    pool,
    sign_flips,
    two_sided_p,
)
from tlsearch.config.comparison import Traits

_NEEDED: Mapping[str, Literal["seeds", "redraws", "scenarios"]] = {
    "answers": "seeds",
    "seed": "seeds",
    "redraw": "redraws",
    "scenario": "scenarios",
}
"""What there must be more of, by the statistic's repeat."""


class Evidence(NamedTuple):
    """What a claim is judged by: scenario name → paired values, and the scenarios it rests on.

    `repeats` is the number of seeds or redraws in each scenario; `num_images` that of different
    test images, 0 for values that do not vary with them; `notes` name scenarios that were left
    out, and why.
    """

    claim: Claim
    pairs: Mapping[str, Paired]
    scenarios: tuple[str, ...] = ()
    repeats: int = 0
    num_images: int = 0
    notes: tuple[str, ...] = ()


def answer(
    claims: Sequence[Claim],
    results: ComparisonResults,
    *,
    scenario: str,
    resamples: int,
    seed: int,
) -> list[ClaimAnswer]:
    """The answer to each claim of one family, in their order; `scenario` names it.

    resamples: of sign flips and of BCa; 0 leaves both out. `seed` alone decides what is drawn.

    Raises:
        ValueError: arms of a scenario, or scenarios of one block, have other seeds or images.
    """
    gathered = [_gathered(claim, results, scenario) for claim in claims]
    family = [found for found in gathered if isinstance(found, Evidence)]
    judged = iter(judge(family, scenario=scenario, resamples=resamples, seed=seed))
    return [next(judged) if isinstance(found, Evidence) else found for found in gathered]


def _gathered(claim: Claim, results: ComparisonResults, scenario: str) -> Evidence | ClaimAnswer:
    """What a claim is judged by, or its answer without a judgement: a description, a reason."""
    try:
        if claim.measure.repeat != "none":
            return gather(claim, results)
        figure, text = _described(claim, _places(results, claim.scenario))
    except NotMeasured as why:
        return _unjudged(claim, scenario, verdict="not measured", reason=str(why))
    return _unjudged(claim, scenario, verdict="described", figure=figure, text=text)


# Gathering: the paired values of a claim from all scenarios that it is about.


def gather(claim: Claim, results: ComparisonResults) -> Evidence:
    """The paired values of a claim.

    Raises:
        NotMeasured: there are none; the text is a phrase for the reader.
        ValueError: arms of a scenario, or scenarios of one block, have other seeds or images.
    """
    places = _places(results, claim.scenario)
    if claim.elsewhere is not None:
        found = _between(claim, places, _places(results, claim.elsewhere))
    else:
        found = _everywhere(claim, places)
    pooled = _pooled(found)
    if pooled.blocks:
        return found
    # Without two pairs it cannot be judged: it then stands beside its table, not in it.
    if claim.measure.repeat == "scenario":
        raise NotMeasured("it takes two scenarios, since each gives one number")
    raise NotMeasured("; ".join(pooled.notes))


def _places(results: ComparisonResults, kind: Traits) -> list[ScenarioResults]:
    """The scenarios that have all traits that `kind` names."""
    found = [place for place in results.scenarios if kind.includes(place.traits)]
    if not found:
        raise NotMeasured(f"no scenario is {kind.in_words()}")
    return found


def _everywhere(claim: Claim, places: list[ScenarioResults]) -> Evidence:
    """Pairs of each scenario that has them."""
    pairs: dict[str, Paired] = {}
    reasons: dict[str, str] = {}
    for place in places:
        try:
            pairs[place.name] = _pair(claim, place)
        except NotMeasured as why:
            reasons[place.name] = str(why)
    if not pairs:
        raise NotMeasured("; ".join(dict.fromkeys(reasons.values())))
    repeats = max(len(pair.arm) for pair in pairs.values())
    if claim.measure.repeat == "scenario":  # single numbers, as the rows of one pair
        arm = np.concatenate([pair.arm for pair in pairs.values()])
        others = [pair.reference for pair in pairs.values() if pair.reference is not None]
        pairs = {"all": Paired(arm, np.concatenate(others) if others else None, "all")}
    used = [place for place in places if place.name not in reasons]
    notes = tuple(f"{name}: left out, {why}" for name, why in reasons.items())
    return _evidence(claim, pairs, used, repeats, notes)


def _pair(claim: Claim, place: ScenarioResults) -> Paired:
    """The values of one scenario."""
    if claim.statistic == "sensitivity":
        return Paired(*sensitivity(place, claim.arm, claim.swept), place.block)
    if claim.statistic == "score_correlation":
        return Paired(score_correlation(place, claim.swept[0]), None, place.block)
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


def _between(
    claim: Claim, places: list[ScenarioResults], elsewhere: list[ScenarioResults]
) -> Evidence:
    """One kind of scenario against another: means over each kind's scenarios, seed by seed."""
    assert claim.reference is not None, "a claim with an elsewhere has a reference there"
    here = [values_of(claim.statistic, claim.arm, place) for place in places]
    there = [values_of(claim.statistic, claim.reference, place) for place in elsewhere]
    pairs = {"all": Paired(np.mean(here, axis=0), np.mean(there, axis=0), "all")}
    return _evidence(claim, pairs, [*places, *elsewhere], len(pairs["all"].arm), ())


def _evidence(
    claim: Claim,
    pairs: dict[str, Paired],
    used: Sequence[ScenarioResults],
    repeats: int,
    notes: tuple[str, ...],
) -> Evidence:
    if claim.measure.by_images:
        pairs = _moved_by_images(pairs)
    num_images = 0
    if claim.measure.repeat == "answers":  # those that scenarios share are counted once
        blocks = {place.block: place for place in used}
        arms = [next(iter(place.arms.values())) for place in blocks.values()]
        num_images = sum(arm.answers.shape[1] for arm in arms)
    return Evidence(claim, pairs, tuple(p.name for p in used), repeats, num_images, notes)


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


def _described(claim: Claim, places: list[ScenarioResults]) -> tuple[float | None, str | None]:
    """A fact without chance: a figure, the mean over scenarios and seeds that have one, or a text.

    Raises:
        NotMeasured: none has.
    """
    here = [place for place in places if claim.arm in place.arms]
    if not here:
        raise NotMeasured(f"{claim.arm} is no arm of the comparison")
    if claim.statistic == "knowledge":
        return None, TAKEN_OVER[claim.id]
    if claim.statistic == "settings":
        return float(np.mean([place.arms[claim.arm].settings for place in here])), None
    values = [values_of(claim.statistic, claim.arm, place) for place in here]
    return float(np.mean([np.mean(v[np.isfinite(v)]) for v in values])), None


# Many claims at once: Holm's step-down correction and the level that it leaves each claim.


class Step(NamedTuple):
    """One claim's place in the correction.

    `adjusted` is at most `ALPHA` exactly if an interval at `level` (such as 0.99) leaves out 0,
    where p and interval come from the same distribution.
    """

    adjusted: float
    level: float
    rejected: bool


def holm(p_values: Sequence[float]) -> list[Step]:
    """The correction of one family, in the order given.

    Of m claims the k-th smallest p is compared with `ALPHA` / (m - k + 1), the first that fails
    stops the procedure, and all later ones share its level.
    Source: Holm 1979; a direction may be read off a rejection: Shaffer 1980
    (doi:10.1214/aos/1176345206).
    """
    count = len(p_values)
    steps: dict[int, Step] = {}
    adjusted, stopped, share = 0.0, False, ALPHA
    for place, index in enumerate(np.argsort(p_values, kind="stable")):
        adjusted = max(adjusted, min(1.0, (count - place) * p_values[index]))
        if not stopped:
            share = ALPHA / (count - place)
            stopped = p_values[index] > share
        steps[int(index)] = Step(adjusted, 1 - share, not stopped)
    return [steps[index] for index in range(count)]


def judge(
    evidence: Sequence[Evidence],
    *,
    scenario: str,
    resamples: int,
    seed: int,
) -> list[ClaimAnswer]:
    """Verdicts of one family, in the order given.

    Raises:
        ValueError: values of a claim are not paired (see `pool`).
    Source: claims.md's four verdicts; Holm 1979 for the family.
    """
    pooled = [_pooled(one) for one in evidence]
    ps = [_p(mean) for mean in pooled]
    answers = []
    for one, mean, p, step in zip(evidence, pooled, ps, holm(ps), strict=True):
        low, high = _interval(mean, 1 - ALPHA, unit=one.claim.measure.unit)
        guarded = _interval(mean, step.level, unit=one.claim.measure.unit)
        verdict = _verdict(one.claim, mean, guarded, step)
        more = _more(one.claim, mean, step.level) if verdict == "inconclusive" else None
        notes = (*one.notes, *mean.notes)
        if _no_spread(mean):
            notes += ("all pairs differ by the same amount, so chance cannot be measured",)
        if verdict == "inconclusive" and (low > 0 or high < 0):
            notes += (
                f"the interval of this claim alone leaves out 0; the correction for {len(ps)} "
                "claims makes it inconclusive",
            )
        arm_mean, reference_mean = _means(one)
        basis = one.claim.measure.repeat
        answers.append(
            ClaimAnswer(
                **_declared(one.claim, scenario),
                verdict=verdict,
                effect=_finite(mean.mean),
                low=_finite(low),
                high=_finite(high),
                guarded_low=_finite(guarded[0]),
                guarded_high=_finite(guarded[1]),
                guarded_level=step.level,
                arm_mean=arm_mean,
                reference_mean=reference_mean,
                n=one.num_images or mean.num_pairs,
                n_of="test images" if basis == "answers" else _NEEDED.get(basis),
                seeds=one.repeats,
                scenarios=one.scenarios,
                p=_finite(p),
                adjusted_p=step.adjusted,
                **_second_opinions(mean, resamples=resamples, seed=seed),
                needed=more.seeds if more else None,
                needed_of=_NEEDED[basis] if more else None,
                needs_images=more.more_never_would if more else False,
                notes=notes,
            )
        )
    return answers


def _pooled(one: Evidence) -> Pooled:
    return pool(one.pairs, as_log=one.claim.measure.unit == "log ratio")


def _p(mean: Pooled) -> float:
    """Student's p; where all values are equal, that of a sign test, which needs no spread."""
    if _no_spread(mean):
        return 1.0 if mean.mean == 0 else 2.0 ** (1 - mean.num_pairs)
    return two_sided_p(mean.mean, mean.variance, mean.freedom)


def _no_spread(mean: Pooled) -> bool:
    return bool(mean.blocks) and mean.variance == 0


def _interval(mean: Pooled, level: float, *, unit: Unit) -> tuple[float, float]:
    """A t interval at a level such as 0.95; infinite where nothing can be said. It ends where
    values of the unit do.
    """
    if not mean.blocks:
        return -math.inf, math.inf
    low, high = _unbounded(mean, level)
    if unit not in _BOUNDED or not math.isfinite(high - low):
        return low, high
    return max(low, -1.0), min(high, 1.0)


_BOUNDED: tuple[Unit, ...] = ("share", "CKA", "correlation")
"""Units of which no value (of correlations) or difference (of the others) is beyond -1 or 1."""


def _unbounded(mean: Pooled, level: float) -> tuple[float, float]:
    if not _no_spread(mean):
        return interval(mean, level=level)
    if mean.num_images:
        # Equal answers to all n images: the share answered differently is at most
        # 1 - (1 - level)^(1/n), about 3/n at 95 % (Hanley and Lippman-Hand 1983,
        # doi:10.1001/jama.1983.03330370053031).
        half = float(-math.expm1(math.log1p(-level) / mean.num_images))
    else:  # equal numbers a seed: no more, if there are enough for a sign test at this level
        half = 0.0 if 2.0 ** (1 - mean.num_pairs) <= 1 - level else math.inf
    return mean.mean - half, mean.mean + half


def _verdict(claim: Claim, mean: Pooled, guarded: tuple[float, float], step: Step) -> Answered:
    low, high = guarded
    assert claim.direction != "none", "what has no direction is described"
    if not mean.blocks:
        return "inconclusive"
    if step.rejected and (low > 0 or high < 0):
        return "supported" if claim.direction * mean.mean > 0 else "contradicted"
    if -claim.measure.smallest < low and high < claim.measure.smallest:
        return "no material effect"
    return "inconclusive"


def _more(claim: Claim, mean: Pooled, level: float) -> MoreSeeds | None:
    """What would settle it, at the level that the verdict was read off."""
    if not mean.blocks:
        return None
    if _no_spread(mean):
        needed = 1 + math.ceil(-math.log2(1 - level))  # pairs, for a sign test at this level
        return MoreSeeds(math.ceil(needed / len(mean.blocks)), False)
    return seeds_to_settle(
        [block.noise for block in mean.blocks],
        mean.weights,
        effect=mean.mean,
        smallest=claim.measure.smallest,
        level=level,
    )


def _second_opinions(mean: Pooled, *, resamples: int, seed: int) -> dict[str, Any]:
    """Of sign flips and, but for images, of BCa, which would leave out the test set's noise."""
    if not resamples or not mean.blocks:
        return {}
    drawn: dict[str, Any] = {"resamples": resamples, "seed": seed}
    found = {"sign_flip_p": sign_flips(mean.differences, mean.weights, **drawn)}
    ends = None
    if not mean.num_images:
        ends = bca(mean.differences, mean.weights, level=1 - ALPHA, **drawn)
    return found | (dict(zip(("bca_low", "bca_high"), ends, strict=True)) if ends else {})


# An answer's fields.


def _unjudged(claim: Claim, scenario: str, **rest: Any) -> ClaimAnswer:
    return ClaimAnswer(**_declared(claim, scenario), **rest)


def _declared(claim: Claim, scenario: str) -> dict[str, Any]:
    """What was fixed before the run; `arm` and `reference` say what the two means are of."""
    arm, reference = claim.arm, claim.reference
    if claim.statistic == "sensitivity":
        arm, reference = f"{arm} at its best setting", "at its worst"
    elif reference == "others":
        reference = "mean of the others"
    elif claim.elsewhere is not None:
        arm, reference = f"{arm} here", f"{reference} elsewhere"
    return {
        "table": claim.table,
        "id": claim.id,
        "key": claim.key,
        "side": claim.side,
        "scenario": scenario,
        "says": claim.says,
        "statistic": claim.statistic,
        "measure": claim.measure.wording,
        "unit": claim.measure.unit,
        "arm": arm,
        "reference": reference,
        "direction": None if claim.direction == "none" else claim.direction,
        "smallest": claim.measure.smallest,
    }


def _means(one: Evidence) -> tuple[float | None, float | None]:
    """Mean over scenarios of each side's own values, over the rows that both have."""
    as_log = one.claim.measure.unit == "log ratio"
    sides: tuple[list[float], list[float]] = ([], [])
    for pair in one.pairs.values():
        columns = [np.asarray(c, dtype=float) for c in pair[:2] if c is not None]
        rows = np.all([np.isfinite(c).reshape(len(c), -1).all(axis=1) for c in columns], axis=0)
        if as_log:
            rows &= np.all([c > 0 for c in columns], axis=0)
        for side, values in zip(sides, columns, strict=False):
            if rows.any():
                side.append(float((np.log(values[rows]) if as_log else values[rows]).mean()))
    means = [float(np.mean(side)) if side else None for side in sides]
    arm, reference = (None if m is None else math.exp(m) if as_log else m for m in means)
    return arm, reference


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
