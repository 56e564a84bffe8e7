"""Each scenario of a comparison at a glance, and where its name and its measurement disagree."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlsearch.comparison.answers import (
    ArmOverview,
    Bias,
    Estimate,
    Foretelling,
    Gain,
    ScenarioOverview,
    SweepOverview,
    SweepPoint,
)
from tlsearch.comparison.gathering import NotMeasured, values_of
from tlsearch.comparison.results import ArmResults, ComparisonResults, ScenarioResults, SweepResults
from tlsearch.comparison.statistics import STATISTICS
from tlsearch.comparison.variance import (
    Paired,
    crossed,
    half_width,
    paired_effect,
    pool,
    satterthwaite,
)

# What was measured of an arm beside its accuracy, and over sweeps, as means with intervals.


def measures_of(arm: ArmResults) -> dict[str, Estimate]:
    """Each figure that was taken of its models, over the repeats that have it."""
    found = {name: estimate(name, values) for name, values in arm.values.items()}
    return {name: one for name, one in found.items() if one is not None}


def estimate(name: str, values: np.ndarray) -> Estimate | None:
    """The mean of (repeats,) values of a statistic, or of a part of one, with Student's interval.

    Geometric where the statistic is judged by ratios and no value is 0 (a frozen layer's drift is);
    None where no repeat has a figure.
    """
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    if not finite.size:
        return None
    known = STATISTICS.get(name) or STATISTICS.get(name.partition(".")[0])
    is_geometric = known is not None and known.unit == "log ratio" and bool((finite > 0).all())
    found = crossed(np.log(finite) if is_geometric else finite)
    ends: tuple[float | None, float | None] = (None, None)
    if len(finite) > 1:
        half = half_width(found.variance, found.freedom, level=0.95)
        ends = (found.mean - half, found.mean + half)
    mean, low, high = (
        None if end is None else math.exp(end) if is_geometric else end
        for end in (found.mean, *ends)
    )
    assert mean is not None
    return Estimate(mean=mean, low=low, high=high, repeats=len(finite), is_geometric=is_geometric)


def sweeps_of(place: ScenarioResults) -> tuple[SweepOverview, ...]:
    """All sweeps of a scenario, their settings in ascending order where they are numbers."""
    return tuple(_sweep(sweep) for sweep in place.sweeps)


def _sweep(sweep: SweepResults) -> SweepOverview:
    points = [_point(sweep, place) for place in range(len(sweep.settings))]
    numbers = [point.setting for point in points if isinstance(point.setting, int | float)]
    if len(numbers) == len(points):
        points = [points[place] for place in np.argsort(numbers, kind="stable")]
    return SweepOverview(arm=sweep.arm, dimension=sweep.dimension, points=tuple(points))


def _point(sweep: SweepResults, place: int) -> SweepPoint:
    ran = np.isfinite(sweep.validation[place])
    answers = sweep.answers[place]
    scored = answers[np.isfinite(answers).all(axis=1)]
    found = paired_effect(scored, None) if scored.size else None
    setting = sweep.settings[place]
    return SweepPoint(
        setting=setting.item() if hasattr(setting, "item") else setting,
        accuracy=found.mean if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        seeds=found.num_seeds if found else int(ran.sum()),
        diverged=int(sweep.diverged[place][ran].sum()),
    )


SCRATCH = "from scratch"
FREEZING = "freeze"
"""Arms of C5 are this word and the number of groups that are frozen."""


def overview(results: ComparisonResults) -> tuple[ScenarioOverview, ...]:
    """All scenarios in their order."""
    return tuple(
        ScenarioOverview(
            scenario=place.name,
            traits=place.traits.named(),
            facts={
                **{k: float(v) for k, v in place.facts.items() if math.isfinite(v)},
                **best_depth(place),
            },
            arms=tuple(_arm(name, place, results) for name in place.arms),
            remarks=tuple(_remarks(place, results)),
            negative_transfer=negative_transfer(place),
            sweeps=sweeps_of(place),
        )
        for place in results.scenarios
    )


def best_depth(place: ScenarioResults) -> dict[str, float]:
    """Of arms "freeze 0", "freeze 1", …: the depth with the best test accuracy, as a mean over
    seeds, and its 95 % interval over seeds and images; nothing where there are no such arms.
    """
    name = "best_freeze_depth"
    try:
        values = values_of(name, FREEZING, place)
    except NotMeasured:
        return {}
    found = crossed(values[np.isfinite(values).all(axis=1)])
    half = half_width(found.variance, found.freedom, level=0.95)
    told = {name: found.mean, f"{name}_low": found.mean - half, f"{name}_high": found.mean + half}
    return told if all(map(math.isfinite, told.values())) else {}


def gains(results: ComparisonResults) -> tuple[Gain, ...]:
    """Each arm against the reference, as a mean over all scenarios that scored both."""
    arms = dict.fromkeys(name for place in results.scenarios for name in place.arms)
    found = [_gain(arm, results.scenarios, results.reference) for arm in arms]
    return tuple(gain for gain in found if gain)


def negative_transfer(place: ScenarioResults) -> bool:
    """Whether the arm "from scratch" is more accurate than each other arm, all intervals above 0.

    No correction is due: all must hold at once (Berger 1982, doi:10.1080/00401706.1982.10487790).
    """
    others = [name for name in place.arms if name != SCRATCH]
    if SCRATCH not in place.arms or not others:
        return False
    found = [_gain(SCRATCH, (place,), other) for other in others]
    return all(gain is not None and gain.low > 0 for gain in found)


def _gain(arm: str, places: Sequence[ScenarioResults], reference: str) -> Gain | None:
    pairs = {
        place.name: Paired(place.arms[arm].answers, place.arms[reference].answers, place.block)
        for place in places
        if {arm, reference} <= set(place.arms)
        and place.arms[arm].answers.shape == place.arms[reference].answers.shape
        and place.arms[arm].answers.size
    }
    pooled = pool(pairs, as_log=False)
    if arm == reference or not pooled.blocks:
        return None
    half = half_width(pooled.variance, pooled.freedom, level=0.95)
    mean, count = pooled.mean, pooled.num_scenarios
    return Gain(arm=arm, mean=mean, low=mean - half, high=mean + half, scenarios=count)


def _arm(name: str, place: ScenarioResults, results: ComparisonResults) -> ArmOverview:
    arm = place.arms[name]
    scored = arm.answers[np.isfinite(arm.answers).all(axis=1)]
    found = paired_effect(scored, None) if scored.size else None
    return ArmOverview(
        arm=name,
        accuracy=found.mean if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        gain=_gain(name, (place,), results.reference),
        foretelling=_foretelling(arm, place.facts.get("later_images", 0)),
        n=found.num_images if found else 0,
        seeds=found.num_seeds if found else 0,
        settings=arm.settings,
        params={key: _plain(value) for key, value in arm.params.items()},
        measures=measures_of(arm),
    )


def _foretelling(arm: ArmResults, later_images: float) -> Foretelling | None:
    """Over the redraws that have all figures; None with fewer than two of them.

    All redraws meet the same later images, and of a split in time the same test images, so that
    redraws alone would take the luck of those images for a bias. Its variance is at most that of
    single answers, p (1 - p) / images, and as much is added.
    """
    named = ("estimate", "later_accuracy", "estimate_images")
    figures = [np.asarray(arm.values.get(name, ()), dtype=float) for name in named]
    if not later_images or not all(figure.size for figure in figures):
        return None
    columns = np.stack(figures)
    estimates, later, images = columns[:, np.isfinite(columns).all(axis=0)]
    if len(estimates) < 2:
        return None
    found = crossed(estimates - later)
    estimate, came_true = float(estimates.mean()), float(later.mean())
    numbers = (float(images[0]), later_images)
    lucks = [p * (1 - p) / n for p, n in zip((estimate, came_true), numbers, strict=True)]
    parts = [found.variance, *lucks]
    freedom = satterthwaite(parts, [found.freedom, *(n - 1 for n in numbers)])
    half = half_width(sum(parts), freedom, level=0.95)
    low, high = found.mean - half, found.mean + half
    bias: Bias = "none shown"
    if low > 0 or high < 0:
        bias = "too optimistic" if low > 0 else "too pessimistic"
    return Foretelling(
        estimate=estimate,
        later_accuracy=came_true,
        optimism=found.mean,
        low=low,
        high=high,
        bias=bias,
        redraws=len(estimates),
    )


def _plain(value: Any) -> float | int | str | bool | None:
    """A parameter as JSON has it; numpy's scalars become Python's."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def _remarks(place: ScenarioResults, results: ComparisonResults) -> list[str]:
    """Where what was measured contradicts what the study file says: the worst case of each."""
    # The error that is left depends on the number of labels, so like is held against like.
    labels = place.traits.labels
    alike = [other for other in results.scenarios if other.traits.labels == labels]
    found = [
        _contradiction(place, results.scenarios, "similarity", more="similar", less="dissimilar"),
        _contradiction(place, alike, "difficulty", more="hard", less="easy"),
    ]
    return [remark for remark in found if remark]


def _contradiction(
    place: ScenarioResults, others: Sequence[ScenarioResults], name: str, *, more: str, less: str
) -> str | None:
    said = getattr(place.traits, name)
    if said not in (more, less) or name not in place.facts:
        return None
    sign, opposite, order = (1, less, "below") if said == more else (-1, more, "above")
    here = place.facts[name]
    wrong = [
        other
        for other in others
        if getattr(other.traits, name) == opposite
        and sign * (other.facts.get(name, here) - here) > 0
    ]
    if not wrong:
        return None
    worst = max(wrong, key=lambda other: sign * other.facts[name])
    return (
        f"It is called {said}, but its measured {name} of {here:.2f} is {order} the "
        f"{worst.facts[name]:.2f} of {worst.name}, called {opposite}."
    )
