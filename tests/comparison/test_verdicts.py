from dataclasses import replace

import numpy as np
import pytest

from tests.comparison.compared import BY_KEY
from tlsearch.comparison.answers import ClaimAnswer
from tlsearch.comparison.variance import Paired
from tlsearch.comparison.verdicts import Evidence, holm, judge

MORE = BY_KEY["A2-for-accuracy-A2"]  # direction +1, delta 0.015
DRIFT = BY_KEY["A3-for-cka_drift-A3"]  # direction -1, delta 0.05


def numbers(*values: float) -> dict[str, Paired]:
    return {"s": Paired(np.array(values), None, "s")}


def judged(*evidence: Evidence, resamples: int = 0) -> list[ClaimAnswer]:
    return judge(evidence, scenario="all", resamples=resamples, seed=0)


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
    assert (answer.low, answer.high) == (answer.guarded_low, answer.guarded_high)
    assert (answer.needed is not None) == (verdict == "inconclusive")


def test_an_interval_by_hand() -> None:
    (answer,) = judged(Evidence(DRIFT, numbers(-0.13, -0.11)))
    # t(1, 0.975) = 12.706, standard error 0.01414 / sqrt(2).
    assert answer.effect == pytest.approx(-0.12)
    assert answer.low == pytest.approx(-0.12 - 0.12706, abs=1e-5)
    assert answer.p == pytest.approx(2 * np.arctan(1 / 12) / np.pi)
    assert (answer.n, answer.n_of) == (2, "seeds")


def test_a_verdict_must_hold_after_holm() -> None:
    clear = Evidence(DRIFT, numbers(-0.13, -0.08, -0.03, -0.06))
    vague = Evidence(replace(DRIFT, says="another"), numbers(0.1, -0.1, 0.2, -0.2))
    (alone,) = judged(clear)
    assert alone.verdict == "supported"
    assert alone.p is not None
    assert 0.025 < alone.p < 0.05
    assert alone.notes == ()
    first, second = judged(clear, vague)
    assert first.verdict == "inconclusive"
    assert first.adjusted_p == pytest.approx(2 * alone.p)
    # The interval that decides is the wider one, so that the two never disagree.
    assert (first.low, first.high) == (alone.low, alone.high)
    assert first.guarded_level == pytest.approx(0.975)
    assert first.high is not None
    assert first.guarded_high is not None
    assert first.high < 0 < first.guarded_high
    # The reader learns why an interval without 0 is no verdict.
    assert "the correction for 2 claims" in first.notes[0]
    assert second.notes == ()
    assert second.adjusted_p is not None
    assert second.adjusted_p >= first.adjusted_p


def test_equal_numbers_need_enough_pairs() -> None:
    few, enough = (judged(Evidence(DRIFT, numbers(*[-0.2] * n)))[0] for n in (5, 6))
    assert (few.verdict, enough.verdict) == ("inconclusive", "supported")
    assert few.needed == 6  # 2 / 2^6 is the first below 0.05
    assert "chance cannot be measured" in enough.notes[0]
    (zero,) = judged(Evidence(DRIFT, numbers(*[0.0] * 6)))
    assert zero.verdict == "no material effect"


def test_equal_answers_bound_what_differs_by_the_number_of_images() -> None:
    def same(images: int) -> ClaimAnswer:
        answers = np.ones((3, images))
        return judged(Evidence(MORE, {"s": Paired(answers, answers, "s")}))[0]

    many, few = same(1000), same(100)
    assert many.high == pytest.approx(1 - 0.05**0.001)
    assert (many.verdict, few.verdict) == ("no material effect", "inconclusive")


def test_nothing_measured_is_inconclusive() -> None:
    (answer,) = judged(Evidence(DRIFT, numbers(np.nan, 1.0)), resamples=99)
    assert answer.verdict == "inconclusive"
    assert (answer.effect, answer.low, answer.high) == (None, None, None)
    assert (answer.needed_of, answer.sign_flip_p, answer.bca_low) == (None, None, None)
    (none,) = judged(Evidence(DRIFT, {}), resamples=99)
    assert none.verdict == "inconclusive"


def test_a_small_test_set_is_named_as_what_is_in_the_way() -> None:
    rng = np.random.default_rng(0)
    image = rng.choice([-1, 0, 1], p=[0.15, 0.7, 0.15], size=(1, 100))
    values = np.where(rng.random((8, 100)) < 0.9, image, 0)
    (answer,) = judged(Evidence(MORE, {"s": Paired(values, None, "s")}))
    assert answer.verdict == "inconclusive"
    assert answer.needed is None
    assert answer.needs_images


def test_second_opinions() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(-0.1, 0.05, size=36)
    scenarios = {f"s{i}": Paired(values[i::3], None, f"s{i}") for i in range(3)}
    (answer,) = judged(Evidence(DRIFT, scenarios), resamples=1999)
    assert answer.verdict == "supported"
    assert answer.sign_flip_p == pytest.approx(2 / 2000)
    ends = (answer.bca_low, answer.bca_high)
    assert ends == (pytest.approx(answer.low, abs=0.01), pytest.approx(answer.high, abs=0.01))
    (again,) = judged(Evidence(DRIFT, scenarios), resamples=1999)
    assert again == answer
    right = rng.random((24, 50)) < 0.5
    (accuracy,) = judged(Evidence(MORE, {"s": Paired(right, ~right, "s")}), resamples=99)
    assert accuracy.sign_flip_p is not None
    assert accuracy.bca_low is None  # it would leave out the noise of the test set


def test_holm_by_hand() -> None:
    steps = holm([0.01, 0.04, 0.03, 0.005])
    # Sorted 0.005 (× 4), 0.01 (× 3), 0.03 (× 2), 0.04 (× 1, but not below the one before).
    assert [s.adjusted for s in steps] == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [s.rejected for s in steps] == [True, False, False, True]
    # 0.03 stopped it at 0.05 / 2, and the last one shares that level.
    assert [1 - s.level for s in steps] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_rejection_adjusted_p_and_level_agree() -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        ps = rng.random(6) ** 3
        for p, step in zip(ps, holm(list(ps)), strict=True):
            assert step.rejected == (step.adjusted <= 0.05) == (p <= 1 - step.level)


def test_holm_of_small_families() -> None:
    assert holm([]) == []
    (alone,) = holm([0.03])
    assert alone.adjusted == 0.03
    assert alone.level == pytest.approx(0.95)
    assert [s.adjusted for s in holm([1.0, 0.9])] == [1.0, 1.0]
