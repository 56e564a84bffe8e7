"""The statistics themselves, on arms whose truth is known: coverage, false verdicts, power.

Bounds leave room for the binomial error of the number of repeats, about three standard errors.
"""

from collections.abc import Iterator

import numpy as np
import pytest

from tests.comparison.compared import BY_KEY, table_a
from tests.comparison.simulated import World, answers
from tlsearch.comparison.answers import ClaimAnswer
from tlsearch.comparison.claims import claims_of
from tlsearch.comparison.tables import ALL, make_tables
from tlsearch.comparison.variance import Paired, crossed, half_width, paired_effect, pool
from tlsearch.comparison.verdicts import Evidence, judge

SEEDS = 8  # the number that these rates were established for, meant as the default
BATCH = 50
ARMS = ("A1", "A2", "A3", "A4", "A5")
TESTED = [claim for claim in claims_of("A") if claim.direction != "none"]


def tables(repeats: int, gains: list[float], *, seeds: int = SEEDS) -> Iterator[np.ndarray]:
    """Answers of six arms, the last standing for a second setting where one is asked for."""
    rng = np.random.default_rng(len(gains) + repeats)
    for _ in range(repeats // BATCH):
        yield from answers(rng, World(), repeats=BATCH, seeds=seeds, gains=gains)


def evidence(right: np.ndarray, rng: np.random.Generator) -> list[Evidence]:
    """All of table A in one scenario; what is no accuracy is skewed noise without an effect."""
    found = []
    for claim in TESTED:
        arm = ARMS.index(claim.arm[:2])
        pair = Paired(right[arm], right[5], "test")
        if claim.measure.repeat != "answers":
            of_seed = rng.lognormal(sigma=0.5, size=len(right[0]))
            first, second = (of_seed * rng.lognormal(sigma=0.5, size=SEEDS) for _ in range(2))
            pair = Paired(first, second, "test")
        elif claim.reference == "others":
            others = [i for i in range(5) if i != arm]
            pair = Paired(right[arm], right[others].mean(axis=0), "test")
        elif claim.reference is not None:
            pair = Paired(right[arm], right[ARMS.index(claim.reference)], "test")
        found.append(Evidence(claim, {"one": pair}))
    return found


def verdicts(family: list[Evidence]) -> list[ClaimAnswer]:
    return judge(family, scenario=ALL, resamples=0, seed=0)


@pytest.mark.slow
def test_identical_arms_seldom_differ() -> None:
    rng = np.random.default_rng(0)
    false, count = 0, 0
    for right in tables(1000, [0.0] * 6):
        said = {answer.verdict for answer in verdicts(evidence(right, rng))}
        false += bool(said & {"supported", "contradicted"})
        count += 1
    assert count == 1000
    assert 0 < false / count <= 0.05


@pytest.mark.slow
def test_twice_the_smallest_effect_of_interest_is_found() -> None:
    claim = BY_KEY["A2-for-accuracy-A2"]
    rng = np.random.default_rng(0)
    found, count = 0, 0
    for right in tables(400, [0.0, 2 * claim.measure.smallest, 0.0, 0.0, 0.0, 0.0]):
        (answer,) = [a for a in verdicts(evidence(right, rng)) if a.key == claim.key]
        found += answer.verdict == "supported"
        count += 1
    assert count == 400
    assert found / count >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, SEEDS])
def test_intervals_of_accuracy_cover_the_truth(seeds: int) -> None:
    covered = []
    for right in tables(1500, [0.0, 0.02], seeds=seeds):
        effect = paired_effect(right[1], right[0])
        covered.append(effect.low <= 0.02 <= effect.high)
    assert len(covered) == 1500
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize(("images", "share"), [(76, 0.95), (76, 0.8), (300, 0.97), (20, 0.9)])
def test_intervals_of_one_seed_cover_a_share_near_1(images: int, share: float) -> None:
    rights = np.random.default_rng(0).binomial(images, share, 5000)
    ends = {k: paired_effect(np.arange(images)[None] < k, None) for k in set(rights.tolist())}
    assert 0.935 <= np.mean([ends[k].low <= share <= ends[k].high for k in rights]) <= 0.97


@pytest.mark.slow
def test_intervals_pooled_over_scenarios_cover_the_truth() -> None:
    """Two scenarios of the same test images, which lean on one another, and a third apart."""
    covered = []
    stream = tables(1500, [0.0, 0.02, 0.0, 0.02])
    for right, apart in zip(stream, stream, strict=True):
        pooled = pool(
            {
                "few": Paired(right[1], right[0], "one"),
                "many": Paired(right[3], right[0], "one"),  # the same reference: correlated
                "other": Paired(apart[1], apart[0], "two"),
            },
            as_log=False,
        )
        half = half_width(pooled.variance, pooled.freedom, level=0.95)
        covered.append(abs(pooled.mean - 0.02) <= half)
    assert len(covered) == 750
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [3, 5, SEEDS])
def test_intervals_of_numbers_a_seed_cover_the_truth(seeds: int) -> None:
    """Differences of skewed values are symmetric, as paired arms of like spread give."""
    rng = np.random.default_rng(seeds)
    arms = rng.lognormal(sigma=0.5, size=(2, 3000, seeds))
    covered = []
    for values in arms[0] - arms[1] + 0.3:
        found = crossed(values)
        half = half_width(found.variance, found.freedom, level=0.95)
        covered.append(abs(found.mean - 0.3) <= half)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.slow
def test_whole_tables_of_equal_arms_seldom_say_anything() -> None:
    false = {True: 0, False: 0}
    count = {True: 0, False: 0}
    for seed in range(60):
        found = make_tables(table_a(seed, gains={}), resamples=0, seed=0, provenance=None)
        for table in found.tables:
            pooled = table.scenario == ALL
            said = {c.verdict for c in found.claims if c.scenario == table.scenario}
            count[pooled] += 1
            false[pooled] += bool(said & {"supported", "contradicted"})
    # Three standard errors of 60 pooled tables and of 480 of one scenario. Of 400 and 3,200 tables
    # 5.5 and 4.3 % said something.
    assert false[True] / count[True] <= 0.05 + 0.084
    assert 0 < false[False] / count[False] <= 0.05 + 0.03
