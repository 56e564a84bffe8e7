"""From paired values to verdicts: one function for every claim of every table.

All decisions of a family (a table, in one scenario or pooled over all) are read off one t interval
a claim, at the level that Holm's correction leaves it: so no verdict can be at odds with its
interval, and identical arms give a false *supported* or *contradicted* in at most alpha of tables.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tlsearch.comparison.claims import Claim
from tlsearch.comparison.power import MoreSeeds, noise_of, seeds_to_settle
from tlsearch.comparison.variance import (
    Flips,
    Paired,
    Pooled,
    bca,
    half_width,
    pool,
    sign_flips,
    two_sided_p,
)

# Many claims at once: Holm's step-down correction and the level that it leaves each claim.


class Step(NamedTuple):
    """One claim's place in the correction.

    `adjusted` is at most alpha exactly if an interval at `level` (such as 0.99) leaves out 0, where
    p and interval come from the same distribution.
    """

    adjusted: float
    level: float
    rejected: bool


def holm(p_values: Sequence[float], *, alpha: float) -> list[Step]:
    """The correction of one family, in the order given.

    Of m claims the k-th smallest p is held against alpha / (m - k + 1), the first that fails stops
    the procedure, and all later ones share its level.
    Source: Holm 1979; a direction may be read off a rejection: Shaffer 1980
    (doi:10.1214/aos/1176345206).
    """
    count = len(p_values)
    order = sorted(range(count), key=lambda i: p_values[i])
    steps: dict[int, Step] = {}
    adjusted, stopped, share = 0.0, False, alpha
    for place, index in enumerate(order):
        adjusted = max(adjusted, min(1.0, (count - place) * p_values[index]))
        if not stopped:
            share = alpha / (count - place)
            stopped = p_values[index] > share
        steps[index] = Step(adjusted, 1 - share, not stopped)
    return [steps[index] for index in range(count)]


Verdict = Literal["supported", "contradicted", "no material effect", "inconclusive", "described"]


class Evidence(NamedTuple):
    """What was measured for a claim: scenario name → paired values."""

    claim: Claim
    scenarios: Mapping[str, Paired]


class Interval(NamedTuple):
    """A t interval of the effect at a `level` such as 0.95; infinite where nothing can be said."""

    low: float
    high: float
    level: float


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A claim's answer. Effects are arm less reference in the statistic's unit, a "log ratio" as a
    natural logarithm (1.0 is a factor of e); not a number or infinite where no pair is left.

    interval: at 1 − alpha, for this claim alone. guarded: at Holm's level; the verdict's own.
    adjusted_p: Holm's, None outside the family. flips, bca: second opinions, None if not asked for,
    and for BCa where it would be too narrow. more: what would settle an *inconclusive* claim.
    """

    claim: Claim
    verdict: Verdict
    effect: float
    interval: Interval
    guarded: Interval
    p: float
    adjusted_p: float | None
    flips: Flips | None
    bca: tuple[float, float] | None
    num_scenarios: int
    num_pairs: int
    num_images: int
    more: MoreSeeds | None
    notes: tuple[str, ...]


def judge(
    evidence: Sequence[Evidence], *, alpha: float, power: float, resamples: int, seed: int
) -> list[Judged]:
    """Verdicts of one family, in the order given.

    resamples: of sign flips and of BCa; 0 leaves both out. Claims without a direction are described
    and do not count in the family. `seed` alone decides what is drawn.

    Raises:
        ValueError: values of a claim are not paired (see `pool`).
    Source: claims.md's four verdicts; Holm 1979 for the family.
    """
    pooled = [pool(one.scenarios, as_log=one.claim.measure.unit == "log ratio") for one in evidence]
    ps = [_p(mean) for mean in pooled]
    tested = [i for i, one in enumerate(evidence) if one.claim.direction != "none"]
    steps = dict(zip(tested, holm([ps[i] for i in tested], alpha=alpha), strict=True))
    answers = []
    for index, (one, mean) in enumerate(zip(evidence, pooled, strict=True)):
        step = steps.get(index)
        level = step.level if step else 1 - alpha
        guarded = _interval(mean, level)
        verdict = _verdict(one.claim, mean, guarded, step)
        drawn = resamples > 0 and bool(mean.blocks)
        answers.append(
            Judged(
                claim=one.claim,
                verdict=verdict,
                effect=mean.mean,
                interval=_interval(mean, 1 - alpha),
                guarded=guarded,
                p=ps[index],
                adjusted_p=step.adjusted if step else None,
                flips=sign_flips(mean.differences, mean.weights, resamples=resamples, seed=seed)
                if drawn
                else None,
                bca=bca(
                    mean.differences,
                    mean.weights,
                    level=1 - alpha,
                    resamples=resamples,
                    seed=seed,
                )
                if drawn and not mean.num_images  # it would leave out the noise of the test set
                else None,
                num_scenarios=mean.num_scenarios,
                num_pairs=mean.num_pairs,
                num_images=mean.num_images,
                more=_more(one.claim, mean, level, power) if verdict == "inconclusive" else None,
                notes=mean.notes + _remarks(mean),
            )
        )
    return answers


def _p(mean: Pooled) -> float:
    """Student's p; where all values are equal, that of a sign test, which needs no spread."""
    if _no_spread(mean):
        return 1.0 if mean.mean == 0 else 2.0 ** (1 - mean.num_pairs)
    return two_sided_p(mean.mean, mean.variance, mean.freedom)


def _no_spread(mean: Pooled) -> bool:
    return bool(mean.blocks) and mean.variance == 0


def _interval(mean: Pooled, level: float) -> Interval:
    if not mean.blocks:
        return Interval(-math.inf, math.inf, level)
    if _no_spread(mean):
        half = _half_without_spread(mean, level)
    else:
        half = half_width(mean.variance, mean.freedom, level=level)
    return Interval(mean.mean - half, mean.mean + half, level)


def _half_without_spread(mean: Pooled, level: float) -> float:
    """What equal values leave open.

    Equal answers to all n images: the share answered differently is at most 1 - (1 - level)^(1/n),
    about 3/n at 95 % (Hanley and Lippman-Hand 1983, doi:10.1001/jama.1983.03330370053031). Equal
    numbers a seed: nothing more, if there are enough for a sign test at this level; else anything.
    """
    if mean.num_images:
        return float(-math.expm1(math.log1p(-level) / mean.num_images))
    return 0.0 if 2.0 ** (1 - mean.num_pairs) <= 1 - level else math.inf


def _verdict(claim: Claim, mean: Pooled, guarded: Interval, step: Step | None) -> Verdict:
    if claim.direction == "none" or step is None:
        return "described"
    if not mean.blocks:
        return "inconclusive"
    if step.rejected and (guarded.low > 0 or guarded.high < 0):
        return "supported" if claim.direction * mean.mean > 0 else "contradicted"
    if -claim.smallest < guarded.low and guarded.high < claim.smallest:
        return "no material effect"
    return "inconclusive"


def _more(claim: Claim, mean: Pooled, level: float, power: float) -> MoreSeeds | None:
    """What would settle it, at the level that the verdict was read off."""
    if not mean.blocks:
        return None
    if _no_spread(mean):
        needed = 1 + math.ceil(-math.log2(1 - level))  # pairs, for a sign test at this level
        return MoreSeeds(math.ceil(needed / len(mean.blocks)), False, 0.0)
    return seeds_to_settle(
        [noise_of(block) for block in mean.blocks],
        mean.weights,
        effect=mean.mean,
        smallest=claim.smallest,
        level=level,
        power=power,
    )


def _remarks(mean: Pooled) -> tuple[str, ...]:
    if _no_spread(mean):
        return ("all pairs differ by the same amount, so chance cannot be measured",)
    return ()
