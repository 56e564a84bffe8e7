from dataclasses import replace

import numpy as np
import pytest

from tlsearch.comparison.claims import BY_KEY
from tlsearch.comparison.variance import Paired
from tlsearch.comparison.verdicts import Evidence, Judged, judge

MORE = BY_KEY["A2-for-accuracy-A2"]  # direction +1, delta 0.015
DRIFT = BY_KEY["A3-for-cka_drift-A3"]  # direction -1, delta 0.05
COUNT = BY_KEY["A1-for-settings-A1"]


def numbers(*values: float) -> dict[str, Paired]:
    return {"s": Paired(np.array(values), None, "s")}


def judged(*evidence: Evidence, resamples: int = 0) -> list[Judged]:
    return judge(evidence, alpha=0.05, power=0.8, resamples=resamples, seed=0)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        # t(3, 0.975) = 3.18; four values 1 apart have a standard error of 0.645 steps.
        ([-0.13, -0.12, -0.11, -0.10], "supported"),
        ([0.13, 0.12, 0.11, 0.10], "contradicted"),
        ([-0.01, 0.01, -0.01, 0.01], "no material effect"),
        ([-0.1, 0.1, -0.1, 0.1], "inconclusive"),
        # Wholly on the claimed side counts before being small, as the protocol's order says.
        ([-0.013, -0.012, -0.011, -0.010], "supported"),
    ],
)
def test_the_four_verdicts(values: list[float], verdict: str) -> None:
    (answer,) = judged(Evidence(DRIFT, numbers(*values)))
    assert answer.verdict == verdict
    assert answer.interval == answer.guarded
    assert (answer.more is not None) == (verdict == "inconclusive")


def test_an_interval_by_hand() -> None:
    (answer,) = judged(Evidence(DRIFT, numbers(-0.3, -0.1)))
    # t(1, 0.975) = 12.706, standard error 0.1414 / sqrt(2).
    assert answer.effect == pytest.approx(-0.2)
    assert answer.interval.low == pytest.approx(-0.2 - 1.2706, abs=1e-4)
    assert answer.p == pytest.approx(2 * np.arctan(1 / 2) / np.pi)
    assert (answer.num_pairs, answer.num_images, answer.num_scenarios) == (2, 0, 1)


def test_a_verdict_must_hold_after_holm() -> None:
    clear = Evidence(DRIFT, numbers(-0.13, -0.08, -0.03, -0.06))
    vague = Evidence(replace(DRIFT, says="another"), numbers(0.1, -0.1, 0.2, -0.2))
    (alone,) = judged(clear)
    assert alone.verdict == "supported"
    assert 0.025 < alone.p < 0.05
    first, second = judged(clear, vague)
    assert first.verdict == "inconclusive"
    assert first.adjusted_p == pytest.approx(2 * alone.p)
    # The interval that decides is the wider one, so that the two never disagree.
    assert first.interval == alone.interval
    assert first.guarded.level == pytest.approx(0.975)
    assert first.interval.high < 0 < first.guarded.high
    assert second.adjusted_p is not None
    assert second.adjusted_p >= first.adjusted_p


def test_claims_without_direction_are_described_and_do_not_count() -> None:
    clear = Evidence(DRIFT, numbers(-0.13, -0.08, -0.03, -0.06))
    alone, described = judged(clear, Evidence(COUNT, numbers(3, 3)))
    assert alone.verdict == "supported"
    assert (described.verdict, described.effect, described.adjusted_p) == ("described", 3, None)


def test_equal_numbers_need_enough_pairs() -> None:
    few, enough = (judged(Evidence(DRIFT, numbers(*[-0.2] * n)))[0] for n in (5, 6))
    assert (few.verdict, enough.verdict) == ("inconclusive", "supported")
    assert few.more is not None
    assert few.more.seeds == 6  # 2 / 2^6 is the first below 0.05
    assert "chance cannot be measured" in enough.notes[0]
    (zero,) = judged(Evidence(DRIFT, numbers(*[0.0] * 6)))
    assert zero.verdict == "no material effect"


def test_equal_answers_bound_what_differs_by_the_number_of_images() -> None:
    def same(images: int) -> Judged:
        answers = np.ones((3, images))
        return judged(Evidence(MORE, {"s": Paired(answers, answers, "s")}))[0]

    many, few = same(1000), same(100)
    assert many.interval.high == pytest.approx(1 - 0.05**0.001)
    assert (many.verdict, few.verdict) == ("no material effect", "inconclusive")


def test_nothing_measured_is_inconclusive() -> None:
    (answer,) = judged(Evidence(DRIFT, numbers(np.nan, 1.0)), resamples=99)
    assert answer.verdict == "inconclusive"
    assert (answer.interval.low, answer.interval.high) == (-np.inf, np.inf)
    assert (answer.more, answer.flips, answer.bca) == (None, None, None)
    (none,) = judged(Evidence(DRIFT, {}), resamples=99)
    assert none.verdict == "inconclusive"


def test_a_small_test_set_is_named_as_what_is_in_the_way() -> None:
    rng = np.random.default_rng(0)
    image = rng.choice([-1, 0, 1], p=[0.15, 0.7, 0.15], size=(1, 100))
    values = np.where(rng.random((8, 100)) < 0.9, image, 0)
    (answer,) = judged(Evidence(MORE, {"s": Paired(values, None, "s")}))
    assert answer.verdict == "inconclusive"
    assert answer.more is not None
    assert answer.more.seeds is None
    assert answer.more.more_never_would


def test_second_opinions() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(-0.1, 0.05, size=36)
    scenarios = {f"s{i}": Paired(values[i::3], None, f"s{i}") for i in range(3)}
    (answer,) = judged(Evidence(DRIFT, scenarios), resamples=1999)
    assert answer.verdict == "supported"
    assert answer.flips is not None
    assert answer.flips.p == pytest.approx(2 / 2000)
    assert answer.bca is not None
    assert answer.bca == pytest.approx(answer.interval[:2], abs=0.01)
    (again,) = judged(Evidence(DRIFT, scenarios), resamples=1999)
    assert again == answer
    right = rng.random((24, 50)) < 0.5
    (accuracy,) = judged(Evidence(MORE, {"s": Paired(right, ~right, "s")}), resamples=99)
    assert accuracy.flips is not None
    assert accuracy.bca is None  # it would leave out the noise of the test set
