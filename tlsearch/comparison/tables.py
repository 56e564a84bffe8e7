"""From what a comparison measured to its tables: verdicts pooled and in each scenario alone, and
each scenario at a glance.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tlsearch.comparison.answers import (
    ArmOverview,
    Cell,
    ClaimAnswer,
    Estimate,
    Forecast,
    Gain,
    Protocol,
    Provenance,
    Row,
    ScenarioOverview,
    SweepOverview,
    SweepPoint,
    Tables,
    VerdictTable,
)
from tlsearch.comparison.claims import Claim, Side, claims_for, strategies_of
from tlsearch.comparison.design import ArmResults, ComparisonResults, ScenarioResults, SweepResults
from tlsearch.comparison.power import ALPHA, POWER
from tlsearch.comparison.statistics import STATISTICS, NotMeasured, values_of
from tlsearch.comparison.variance import (
    Paired,
    crossed,
    half_width,
    interval,
    paired_effect,
    pool,
    satterthwaite,
)
from tlsearch.comparison.verdicts import answer

ALL = "all"
SCRATCH = "from scratch"
FREEZING = "freeze"
"""Arms of C5 are this word and the number of groups that are frozen."""
_SIDES: tuple[Side, ...] = ("for", "against", "fits")
_TITLES = {
    "A": "Learning-rate strategies",
    "B": "Ways to split the data",
    "C": "Advice put to the test",
}


def make_tables(
    results: ComparisonResults,
    *,
    resamples: int,
    seed: int,
    provenance: Provenance | None,
) -> Tables:
    """All verdicts of a comparison; each table is a family of its own in Holm's correction.

    resamples: of second opinions, 0 for none; `seed` alone decides what they draw.

    Raises:
        ValueError: arms of a scenario, or scenarios of one block, have other seeds or images.
    """
    places = results.scenarios
    arms = list(dict.fromkeys(name for place in places for name in place.arms))
    claims = claims_for(results.table, arms=arms, reference=results.reference)
    how = {"resamples": resamples, "seed": seed}
    families = {ALL: answer(claims, results, scenario=ALL, **how)}
    for place in places if len(places) > 1 else ():
        here = [claim for claim in claims if _makes_sense_in(claim, place)]
        alone = results._replace(scenarios=(place,))
        families[place.name] = answer(here, alone, scenario=place.name, **how)
    every = (_gain(arm, places, results.reference) for arm in arms)
    seeds = [len(arm.seeds) for place in places for arm in place.arms.values()]
    return Tables(
        protocol=Protocol(
            comparison=results.name,
            table=results.table,
            reference=results.reference,
            trials=results.trials,
            epochs=results.epochs,
            seeds=max(seeds, default=0),
            future=results.future,
            alpha=ALPHA,
            power=POWER,
        ),
        tables=tuple(_table(results, answers, name) for name, answers in families.items()),
        claims=tuple(one for answers in families.values() for one in answers),
        scenarios=tuple(_overview(place, results) for place in places),
        gains=tuple(gain for gain in every if gain),
        provenance=provenance,
    )


def _makes_sense_in(claim: Claim, place: ScenarioResults) -> bool:
    """Whether one scenario can answer: it is of the kind, and gives more than one number."""
    if claim.table == "own" and claim.arm not in place.arms:
        return False  # it is not run here
    many = claim.statistic == "mean_rank" or claim.elsewhere is not None  # speak of several
    repeated = claim.measure.repeat in ("answers", "seed", "redraw")
    return repeated and not many and claim.scenario.includes(place.traits)


def _table(
    results: ComparisonResults, answers: Sequence[ClaimAnswer], scenario: str
) -> VerdictTable:
    own = results.table == "own"
    names = {a.id: a.id for a in answers} if own else strategies_of(results.table)
    rows = []
    for row, strategy in names.items():
        sides = {s: tuple(a.key for a in answers if (a.id, a.side) == (row, s)) for s in _SIDES}
        cells = tuple(Cell(side=side, claims=keys) for side, keys in sides.items() if keys)
        if cells:
            rows.append(Row(id=row, strategy=strategy, cells=cells))
    title = f"Arms against {results.reference}" if own else _TITLES[results.table]
    return VerdictTable(table=results.table, title=title, scenario=scenario, rows=tuple(rows))


# Each scenario at a glance.


def _overview(place: ScenarioResults, results: ComparisonResults) -> ScenarioOverview:
    facts = {name: float(value) for name, value in place.facts.items() if math.isfinite(value)}
    return ScenarioOverview(
        scenario=place.name,
        traits=place.traits.named(),
        facts={**facts, **best_depth(place)},
        arms=tuple(_arm(name, place, results) for name in place.arms),
        remarks=tuple(_remarks(place, results)),
        negative_transfer=negative_transfer(place),
        sweeps=tuple(sweep_overview(sweep) for sweep in place.sweeps),
    )


def _arm(name: str, place: ScenarioResults, results: ComparisonResults) -> ArmOverview:
    arm = place.arms[name]
    measures = {figure: estimate(figure, values) for figure, values in arm.values.items()}
    seeds, images = arm.scored.shape
    return ArmOverview(
        arm=name,
        **_accuracy(arm.scored),
        gain=_gain(name, (place,), results.reference),
        foretelling=_forecast(arm, place.facts.get("later_images", 0)),
        n=images if seeds else 0,
        seeds=seeds if images else 0,
        settings=arm.settings,
        params={key: _plain(value) for key, value in arm.params.items()},
        measures={figure: one for figure, one in measures.items() if one is not None},
    )


def _accuracy(answers: np.ndarray) -> dict[str, float | None]:
    """Fields of the mean of whole answers (seeds, images) with its interval; None without any."""
    found = paired_effect(answers, None)[:3] if answers.size else (None, None, None)
    return dict(zip(("accuracy", "low", "high"), found, strict=True))


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
    shown = math.exp if is_geometric else float
    low = high = None
    if len(finite) > 1:
        low, high = map(shown, interval(found, level=0.95))
    mean, repeats = shown(found.mean), len(finite)
    return Estimate(mean=mean, low=low, high=high, repeats=repeats, is_geometric=is_geometric)


def sweep_overview(sweep: SweepResults) -> SweepOverview:
    """An arm over the settings of one dimension, in ascending order where they are numbers."""
    points = []
    for setting, validation, answers, diverged in zip(
        sweep.settings, sweep.validation, sweep.answers, sweep.diverged, strict=True
    ):
        ran = np.isfinite(validation)
        scored = answers[np.isfinite(answers).all(axis=1)]
        point = SweepPoint(
            setting=_plain(setting),
            **_accuracy(scored),
            seeds=len(scored) if scored.size else int(ran.sum()),
            diverged=int(diverged[ran].sum()),
        )
        points.append(point)
    if all(isinstance(point.setting, int | float) for point in points):
        points.sort(key=lambda point: float(point.setting or 0))
    return SweepOverview(arm=sweep.arm, dimension=sweep.dimension, points=tuple(points))


def best_depth(place: ScenarioResults) -> dict[str, float]:
    """Of arms "freeze 0", "freeze 1", …: the depth with the best test accuracy, as a mean over
    seeds, and its 95 % interval over seeds and images; nothing without such arms or two seeds of
    fewer than 20 images.
    """
    name = "best_freeze_depth"
    try:
        values = values_of(name, FREEZING, place)
    except NotMeasured:
        return {}
    whole = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not whole.any():
        return {}
    found = crossed(values[whole])
    low, high = interval(found, level=0.95)
    ends = {name: found.mean, f"{name}_low": low, f"{name}_high": high}
    return ends if all(map(math.isfinite, ends.values())) else {}


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
    """An arm against another, as a mean over all scenarios that scored both."""
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
    low, high = interval(pooled, level=0.95)
    return Gain(arm=arm, mean=pooled.mean, low=low, high=high, scenarios=pooled.num_scenarios)


def _forecast(arm: ArmResults, later_images: float) -> Forecast | None:
    """Over the redraws that have all figures; None with fewer than two of them.

    All redraws meet the same later images, and of a split in time the same test images, so that
    redraws alone would take the luck of those images for a bias. Its variance is at most that of
    single answers, p (1 - p) / images, and as much is added.
    """
    named = ("estimate", "later_accuracy", "estimate_images")
    if not later_images or not all(name in arm.values for name in named):
        return None
    columns = np.stack([np.asarray(arm.values[name], dtype=float) for name in named])
    estimates, later, images = columns[:, np.isfinite(columns).all(axis=0)]
    if len(estimates) < 2:
        return None
    found = crossed(estimates - later)
    expected, observed = float(estimates.mean()), float(later.mean())
    numbers = (float(images[0]), later_images)
    lucks = [p * (1 - p) / n for p, n in zip((expected, observed), numbers, strict=True)]
    parts = [found.variance, *lucks]
    freedom = satterthwaite(parts, [found.freedom, *(n - 1 for n in numbers)])
    half = half_width(sum(parts), freedom, level=0.95)
    low, high = found.mean - half, found.mean + half
    return Forecast(
        estimate=expected,
        later_accuracy=observed,
        optimism=found.mean,
        low=low,
        high=high,
        bias="too optimistic" if low > 0 else "too pessimistic" if high < 0 else "none shown",
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
    # The error that is left depends on the number of labels, so like is compared with like.
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
    called = getattr(place.traits, name)
    if called not in (more, less) or name not in place.facts:
        return None
    sign, opposite, order = (1, less, "below") if called == more else (-1, more, "above")
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
        f"It is called {called}, but its measured {name} of {here:.2f} is {order} the "
        f"{worst.facts[name]:.2f} of {worst.name}, called {opposite}."
    )
