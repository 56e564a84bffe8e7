import numpy as np
import pytest

from tlsearch.comparison.variance import Paired, crossed, pool


def numbers(*values: float, block: str = "digits") -> Paired:
    return Paired(np.array(values), np.zeros(len(values)), block)


def test_scenarios_weigh_the_same() -> None:
    pooled = pool({"one": numbers(1, 3), "two": numbers(4, 5, 6, 7, block="x")}, as_log=False)
    assert pooled.mean == pytest.approx((2 + 5.5) / 2)
    # Variances 2 / 2 and (5 / 3) / 4, each a quarter; freedoms 1 and 3.
    parts = [1 / 4, 5 / 12 / 4]
    assert pooled.variance == pytest.approx(sum(parts))
    assert pooled.freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 + parts[1] ** 2 / 3))
    assert (pooled.num_scenarios, pooled.num_pairs, pooled.num_images) == (2, 6, 0)


def test_scenarios_that_share_images_count_once() -> None:
    rng = np.random.default_rng(0)
    first, second, third = ((rng.random((4, 50)) < 0.5).astype(int) for _ in range(3))
    zero = np.zeros((4, 50))
    shared = pool({"few": Paired(first, zero, "d"), "many": Paired(first, zero, "d")}, as_log=False)
    alone = pool({"few": Paired(first, zero, "d")}, as_log=False)
    # The same evidence twice is no more evidence.
    assert shared.variance == pytest.approx(alone.variance)
    assert (shared.num_scenarios, shared.num_images, shared.num_pairs) == (2, 50, 4)
    mixed = pool(
        {
            "few": Paired(first, zero, "d"),
            "many": Paired(second, zero, "d"),
            "other": Paired(third, zero, "x"),
        },
        as_log=False,
    )
    assert mixed.mean == pytest.approx((first.mean() + second.mean() + third.mean()) / 3)
    both, other = crossed((first + second) / 2), crossed(third)
    expected = (2 / 3) ** 2 * both.variance + (1 / 3) ** 2 * other.variance
    assert mixed.variance == pytest.approx(expected)


def test_ratios_are_judged_by_their_logarithm() -> None:
    pooled = pool({"s": Paired(np.array([2.0, 8.0]), np.array([1.0, 2.0]), "s")}, as_log=True)
    assert pooled.mean == pytest.approx(np.log([2, 4]).mean())


def test_pairs_without_a_value_are_left_out_and_told() -> None:
    arm = np.array([1.0, np.nan, 3.0, np.inf])
    pooled = pool({"s": Paired(arm, np.array([0, 0, 0, np.inf]), "digits")}, as_log=False)
    assert pooled.mean == 2
    assert pooled.notes == ("digits: 2 of 4 pairs have no value",)
    logs = pool({"s": Paired(np.array([0.0, 1, 1]), np.ones(3), "digits")}, as_log=True)
    assert logs.notes == ("digits: 1 of 3 pairs have no value",)


def test_too_few_pairs_say_nothing() -> None:
    pooled = pool({"s": numbers(1, np.nan)}, as_log=False)
    assert pooled.variance == np.inf
    assert pooled.blocks == ()
    assert pooled.notes[-1] == "too few pairs to say anything"
    # One scenario that failed does not take the others with it.
    rest = pool({"s": numbers(1, np.nan), "t": numbers(1, 2, block="t")}, as_log=False)
    assert rest.mean == 1.5
    assert "digits: left out, fewer than two pairs" in rest.notes


@pytest.mark.parametrize(
    ("scenarios", "words"),
    [
        ({"s": Paired(np.zeros(3), np.zeros(4), "b")}, "not paired"),
        ({"s": Paired(np.zeros((3, 2, 2)), None, "b")}, "neither"),
        ({"s": Paired(np.zeros(0), None, "b")}, "neither"),
        ({"s": Paired(np.zeros(3), None, "b"), "t": Paired(np.zeros(4), None, "b")}, "share seeds"),
    ],
)
def test_what_is_not_paired_is_refused(scenarios: dict[str, Paired], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pool(scenarios, as_log=False)
