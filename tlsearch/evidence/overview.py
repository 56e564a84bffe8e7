"""Each scenario of a comparison at a glance, and where its name and its measurement disagree."""

import math
from typing import Any

import numpy as np

from tlsearch.evidence.answers import ArmOverview, ScenarioOverview
from tlsearch.evidence.effects import paired_effect
from tlsearch.evidence.results import ArmResults, ComparisonResults, ScenarioResults

SCRATCH = "from scratch"


def overview(results: ComparisonResults) -> tuple[ScenarioOverview, ...]:
    """All scenarios in their order."""
    return tuple(
        ScenarioOverview(
            scenario=place.name,
            traits=place.traits.named(),
            facts={k: float(v) for k, v in place.facts.items() if math.isfinite(v)},
            arms=tuple(_arm(name, arm) for name, arm in place.arms.items()),
            remarks=tuple(_remarks(place, results)),
            negative_transfer=negative_transfer(place),
        )
        for place in results.scenarios
    )


def negative_transfer(place: ScenarioResults) -> bool:
    """Whether the arm "from scratch" is more accurate than each other arm, all intervals above 0.

    No correction is due: all must hold at once (Berger 1982, doi:10.1080/00401706.1982.10487790).
    """
    others = [arm for name, arm in place.arms.items() if name != SCRATCH]
    if SCRATCH not in place.arms or not others:
        return False
    scratch = place.arms[SCRATCH].answers
    return all(_is_better(scratch, other.answers) for other in others)


def _is_better(right: np.ndarray, other: np.ndarray) -> bool:
    if right.shape != other.shape:  # one of them was not scored
        return False
    both = _whole(right) & _whole(other)
    return bool(both.any()) and paired_effect(right[both], other[both]).low > 0


def _whole(right: np.ndarray) -> np.ndarray:
    """Which seeds were scored, (seeds,)."""
    return np.asarray(np.isfinite(right).all(axis=1) & (right.shape[1] > 0))


def _arm(name: str, arm: ArmResults) -> ArmOverview:
    scored = arm.answers[_whole(arm.answers)]
    params = {key: _plain(value) for key, value in arm.params.items()}
    if not scored.size:
        return ArmOverview(
            arm=name, accuracy=None, low=None, high=None, n=0, seeds=0, params=params
        )
    found = paired_effect(scored, None)
    return ArmOverview(
        arm=name,
        accuracy=found.mean,
        low=found.low,
        high=found.high,
        n=found.num_images,
        seeds=found.num_seeds,
        params=params,
    )


def _plain(value: Any) -> float | int | str | bool | None:
    """A parameter as JSON has it; numpy's scalars become Python's."""
    value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, bool | int | str):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)


def _remarks(place: ScenarioResults, results: ComparisonResults) -> list[str]:
    """Where what was measured contradicts what the study file says, against each other scenario."""
    found = []
    for other in results.scenarios:
        found.append(_contradiction(place, other, "similarity", more="similar", less="dissimilar"))
        # The error that is left depends on the number of labels, so like is held against like.
        if place.traits.labels == other.traits.labels:
            found.append(_contradiction(place, other, "difficulty", more="hard", less="easy"))
    return [remark for remark in found if remark]


def _contradiction(
    place: ScenarioResults, other: ScenarioResults, name: str, *, more: str, less: str
) -> str | None:
    if not (name in place.facts and name in other.facts):
        return None
    here, there = place.facts[name], other.facts[name]
    said = (getattr(place.traits, name), getattr(other.traits, name))
    if said == (more, less) and here < there:
        order = "below"
    elif said == (less, more) and here > there:
        order = "above"
    else:
        return None
    return (
        f"It is called {said[0]}, but its measured {name} of {here:.2f} is {order} the "
        f"{there:.2f} of {other.name}, called {said[1]}."
    )
