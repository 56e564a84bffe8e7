"""What was measured of an arm beside its accuracy, and over sweeps, as means with intervals."""

import math

import numpy as np

from tlsearch.evidence.answers import Estimate, SweepOverview, SweepPoint
from tlsearch.evidence.crossed import crossed, half_width
from tlsearch.evidence.effects import paired_effect
from tlsearch.evidence.results import ArmResults, ScenarioResults, SweepResults
from tlsearch.evidence.statistics import STATISTICS


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
