"""From what a comparison measured to its tables of verdicts: pooled, and in each scenario alone."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tlsearch.comparison.answers import (
    Basis,
    Cell,
    ClaimAnswer,
    Protocol,
    Provenance,
    Row,
    Tables,
    VerdictTable,
)
from tlsearch.comparison.claims import Claim, Side, claims_asked, strategies_of
from tlsearch.comparison.gathering import Described, Gathered, Missing, gather
from tlsearch.comparison.overview import gains, overview
from tlsearch.comparison.results import ArmResults, ComparisonResults, ScenarioResults
from tlsearch.comparison.variance import Paired
from tlsearch.comparison.verdicts import Judged, judge

ALL = "all"
_SIDES: tuple[Side, ...] = ("for", "against", "fits")
_TITLES = {
    "A": "Learning-rate strategies",
    "B": "Ways to split the data",
    "C": "Advice put to the test",
}
_BASIS: Mapping[str, Basis] = {
    "answers": "test images",
    "seed": "seeds",
    "redraw": "redraws",
    "scenario": "scenarios",
}
_NEEDED: Mapping[str, Literal["seeds", "redraws", "scenarios"]] = {
    "answers": "seeds",
    "seed": "seeds",
    "redraw": "redraws",
    "scenario": "scenarios",
}


def make_tables(
    results: ComparisonResults,
    *,
    alpha: float,
    power: float,
    resamples: int,
    seed: int,
    provenance: Provenance | None,
) -> Tables:
    """All verdicts of a comparison; each table is a family of its own in Holm's correction.

    resamples: of second opinions, 0 for none; `seed` alone decides what they draw.

    Raises:
        ValueError: arms of a scenario, or scenarios of one block, have other seeds or images.
    """
    arms = dict.fromkeys(name for place in results.scenarios for name in place.arms)
    claims = claims_asked(results.table, arms=list(arms), reference=results.reference)

    def answer(claims: Sequence[Claim], among: ComparisonResults, scenario: str) -> Answers:
        gathered = [gather(claim, among) for claim in claims]
        family = [found.evidence for found in gathered if isinstance(found, Gathered)]
        judged = iter(judge(family, alpha=alpha, power=power, resamples=resamples, seed=seed))
        return [
            _judged(next(judged), found, scenario)
            if isinstance(found, Gathered)
            else _unjudged(claim, found, scenario)
            for claim, found in zip(claims, gathered, strict=True)
        ]

    families = {ALL: answer(claims, results, ALL)}
    if len(results.scenarios) > 1:
        for place in results.scenarios:
            alone = results._replace(scenarios=(place,))
            here = [claim for claim in claims if _makes_sense_in(claim, place)]
            families[place.name] = answer(here, alone, place.name)
    return Tables(
        protocol=Protocol(
            comparison=results.name,
            table=results.table,
            reference=results.reference,
            trials=results.trials,
            epochs=results.epochs,
            seeds=max((len(arm.seeds) for arm in _arms(results)), default=0),
            future=results.future,
            alpha=alpha,
            power=power,
        ),
        tables=tuple(_table(results, answers, name) for name, answers in families.items()),
        claims=tuple(one for answers in families.values() for one in answers),
        scenarios=overview(results),
        gains=gains(results),
        provenance=provenance,
    )


Answers = list[ClaimAnswer]


def _arms(results: ComparisonResults) -> Iterator[ArmResults]:
    return (arm for place in results.scenarios for arm in place.arms.values())


def _makes_sense_in(claim: Claim, place: ScenarioResults) -> bool:
    """Whether one scenario can answer: it is of the kind, and gives more than one number."""
    if claim.table == "own" and claim.arm not in place.arms:
        return False  # it is not run here
    many = claim.statistic == "mean_rank" or claim.elsewhere is not None  # speak of several
    repeated = claim.measure.repeat in ("answers", "seed", "redraw")
    return repeated and not many and claim.scenario.includes(place.traits)


def _table(results: ComparisonResults, answers: Answers, scenario: str) -> VerdictTable:
    own = results.table == "own"
    names = {a.id: a.id for a in answers} if own else strategies_of(results.table)
    rows = []
    for row, strategy in names.items():
        cells = [
            Cell(side=side, claims=tuple(a.key for a in answers if (a.id, a.side) == (row, side)))
            for side in _SIDES
        ]
        cells = [cell for cell in cells if cell.claims]
        if cells:
            rows.append(Row(id=row, strategy=strategy, cells=tuple(cells)))
    title = f"Arms against {results.reference}" if own else _TITLES[results.table]
    return VerdictTable(table=results.table, title=title, scenario=scenario, rows=tuple(rows))


def _judged(judged: Judged, found: Gathered, scenario: str) -> ClaimAnswer:
    claim, scenarios = found.evidence
    arm_mean, reference_mean = _means(list(scenarios.values()), claim)
    more = judged.more
    return ClaimAnswer(
        **_declared(claim, scenario),
        verdict=judged.verdict,
        effect=_finite(judged.effect),
        low=_finite(judged.interval.low),
        high=_finite(judged.interval.high),
        guarded_low=_finite(judged.guarded.low),
        guarded_high=_finite(judged.guarded.high),
        guarded_level=judged.guarded.level,
        arm_mean=arm_mean,
        reference_mean=reference_mean,
        n=found.num_images or judged.num_pairs,
        n_of=_BASIS[claim.measure.repeat],
        seeds=found.repeats,
        scenarios=found.scenarios,
        p=_finite(judged.p),
        adjusted_p=judged.adjusted_p,
        sign_flip_p=judged.flips.p if judged.flips else None,
        bca_low=judged.bca[0] if judged.bca else None,
        bca_high=judged.bca[1] if judged.bca else None,
        needed=more.seeds if more else None,
        needed_of=_NEEDED[claim.measure.repeat] if more else None,
        needs_images=more.more_never_would if more else False,
        notes=(*found.notes, *judged.notes),
    )


def _unjudged(claim: Claim, found: Described | Missing, scenario: str) -> ClaimAnswer:
    declared = _declared(claim, scenario)
    if isinstance(found, Missing):
        return ClaimAnswer(**declared, verdict="not measured", reason=found.reason)
    return ClaimAnswer(**declared, verdict="described", figure=found.value, text=found.text)


def _declared(claim: Claim, scenario: str) -> dict[str, Any]:
    """What was fixed before the run."""
    arm, reference = _sides(claim)
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
        "smallest": claim.smallest,
    }


def _sides(claim: Claim) -> tuple[str, str | None]:
    """What the two means are of."""
    if claim.statistic == "sensitivity":
        return f"{claim.arm} at its best setting", "at its worst"
    if claim.reference == "others":
        return claim.arm, "mean of the others"
    if claim.elsewhere is not None:
        return f"{claim.arm} here", f"{claim.reference} elsewhere"
    return claim.arm, claim.reference


def _means(pairs: Sequence[Paired], claim: Claim) -> tuple[float | None, float | None]:
    """Mean over scenarios of each side's own values, over the rows that both have."""
    as_log = claim.measure.unit == "log ratio"
    sides: tuple[list[float], list[float]] = ([], [])
    for pair in pairs:
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
