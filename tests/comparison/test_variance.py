"""Means over seeds and images, pooled effects, and second opinions, by hand and against scipy."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import stdtrit

from tlsearch.comparison.variance import (
    BCA_FROM,
    Paired,
    bca,
    crossed,
    half_width,
    paired_effect,
    pool,
    satterthwaite,
    sign_flips,
    two_sided_p,
)


def test_components_by_hand() -> None:
    # Seeds 1 and 4, images 3, 1 and 3.5, all 2.5; left over ±(0.5, 0.5, -1), squares 3.
    found = crossed(np.array([[2, 0, 1], [4, 2, 6]]))
    assert found.mean == 2.5
    # Mean squares over 6 values: seeds 4.5 / 2, images 1.75 / 3, the rest 3 / (1 * 2) / 6.
    assert found.variance == pytest.approx(2.25 + 1.75 / 3 - 0.25)
    assert found.noise.seed == pytest.approx((2.25 - 0.25) * 2)
    assert found.noise.image == pytest.approx((1.75 / 3 - 0.25) * 3)
    assert found.noise.rest == pytest.approx(1.5)
    assert found.freedom == pytest.approx(found.variance**2 / (2.25**2 + (1.75 / 3) ** 2 / 2))
    assert found.noise.num_images == 3


def test_no_component_is_negative() -> None:
    found = crossed(np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 0, 1]]))
    assert found.noise.seed == 0
    assert found.noise.image == 0
    assert found.variance > 0


def test_one_value_a_seed_is_a_t_test() -> None:
    values = np.array([0.3, -0.1, 0.4, 0.25, 0.0])
    found = crossed(values)
    test = stats.ttest_1samp(values, 0.0)
    interval = test.confidence_interval(0.9)
    half = half_width(found.variance, found.freedom, level=0.9)
    assert found.mean - half == pytest.approx(interval.low)
    assert found.mean + half == pytest.approx(interval.high)
    assert two_sided_p(found.mean, found.variance, found.freedom) == pytest.approx(test.pvalue)


def test_equal_values_have_no_spread() -> None:
    assert crossed(np.full(7, 0.1)).variance == 0
    assert crossed(np.zeros((3, 9))).variance == 0
    assert half_width(0.0, 4, level=0.95) == 0
    assert two_sided_p(0.0, 0.0, 4) == 1


def test_one_seed_knows_images_alone_and_one_value_nothing() -> None:
    found = crossed(np.array([[1, 0, 0, 1]]))
    assert found.variance == pytest.approx((1 / 3) / 4)
    assert found.freedom == 3
    assert crossed(np.array([0.5])).variance == np.inf


def test_freedom_of_a_sum() -> None:
    # Equal parts add up; one part alone keeps its own.
    assert satterthwaite([2.0, 2.0], [4, 4]) == pytest.approx(8)
    assert satterthwaite([2.0, 0.0], [4, 9]) == pytest.approx(4)
    assert satterthwaite([0.0], [4]) == np.inf
    assert half_width(1.0, np.inf, level=0.95) == pytest.approx(1.959964, abs=1e-5)


def draws(rng: np.random.Generator, accuracy: float, shape: tuple[int, int]) -> np.ndarray:
    return (rng.random(shape) < accuracy).astype(int)


def test_a_paired_effect_by_hand() -> None:
    right = np.array([[1, 1, 0], [1, 1, 1]])
    reference = np.array([[0, 1, 1], [0, 1, 0]])
    # Differences 1 0 -1 / 1 0 1, and of the added images -1 1 each. Seeds 0 and 2/5, their part
    # (2/25) / 2; images 1 0 0 -1 1, theirs (2.8 / 4) / 5; the rest 0.16 / 4, taken off once.
    freedom = 0.14**2 / (0.04**2 / 1 + 0.14**2 / 4)
    effect = paired_effect(right, reference)
    assert effect.mean == pytest.approx(1 / 3)
    assert effect.low == pytest.approx(0.2 - float(stdtrit(freedom, 0.975)) * 0.14**0.5)
    assert effect.high == 1.0  # where differences end
    assert (effect.num_seeds, effect.num_images) == (2, 3)


def test_identical_answers_leave_room_for_a_difference() -> None:
    right = draws(np.random.default_rng(0), 0.9, (3, 100))
    effect = paired_effect(right, right)
    # Two of 102 images differ, by 1 and by -1.
    half = float(stdtrit(101, 0.975)) * (2 / 101 / 102) ** 0.5
    assert effect.mean == 0
    assert (-effect.low, effect.high) == pytest.approx((half, half), rel=0.01)


def test_one_seed_has_the_interval_of_a_proportion() -> None:
    right = np.zeros((1, 1000), dtype=int)
    right[0, :900] = 1
    effect = paired_effect(right, None)
    assert effect.mean == 0.9
    half = 1.96 * (0.9 * 0.1 / 1000) ** 0.5
    assert effect.low == pytest.approx(0.9 - half, abs=0.003)
    assert effect.high == pytest.approx(0.9 + half, abs=0.003)


def test_ends_move_with_the_number_right() -> None:
    """One rule for all counts: 76 of 76 is not less certain to be good than 75 of 76."""
    ends = np.array([paired_effect(np.arange(76)[None] < k, None)[1:3] for k in range(77)])
    assert (np.diff(ends, axis=0) > 0).all()
    z = float(stdtrit(79, 0.975))
    assert ends[76] == pytest.approx((76 / (76 + z**2), 1.0))  # Wilson's interval of 76 in 76
    assert ends[0] == pytest.approx((0.0, 1 - ends[76, 0]))


def test_all_right_is_no_certainty_over_seeds_either() -> None:
    right = np.ones((3, 76), dtype=int)
    whole = paired_effect(right, None)
    right[1, 5] = 0
    less = paired_effect(right, None)
    assert less.low < whole.low < 1
    assert less.high < whole.high == 1


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


def test_pairs_without_a_value_are_left_out_with_a_note() -> None:
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


def test_flips_by_hand() -> None:
    # |1 + 2 + 3| is reached by all plus and all minus: 2 of 8 patterns.
    found = sign_flips([np.array([1.0, 2.0, 3.0])], [1.0], resamples=999, seed=0)
    assert found == pytest.approx(2 / 8)
    # 3 + 2 - 1 = 4 is reached or passed by +++, ++- (the 1 minus) and their mirrors.
    assert sign_flips([np.array([-1.0, 2.0, 3.0])], [1.0], resamples=999, seed=0) == 4 / 8


def test_blocks_weigh_by_their_share_not_by_their_size() -> None:
    # Means 1 and -1 cancel although the second has more pairs: every pattern is as extreme.
    blocks = [np.array([1.0, 1.0]), np.full(4, -1.0)]
    assert sign_flips(blocks, [0.5, 0.5], resamples=999, seed=0) == 1
    # Pooling makes small p possible: 2 blocks of 5 pairs, 2 of 1,024 patterns.
    both = sign_flips([np.arange(1.0, 6.0)] * 2, [0.5, 0.5], resamples=5000, seed=0)
    assert both == pytest.approx(2 / 1024)


def test_no_difference_and_one_pair() -> None:
    assert sign_flips([np.zeros(8)], [1.0], resamples=99, seed=0) == 1
    assert sign_flips([np.array([3.0])], [1.0], resamples=99, seed=0) == 1


def test_random_flips_need_resamples_to_be_small() -> None:
    found = sign_flips([np.arange(1.0, 41.0)], [1.0], resamples=199, seed=0)
    assert found == pytest.approx(2 / 200)


def test_bca_of_one_block_is_scipys() -> None:
    values = np.random.default_rng(0).exponential(size=30)
    found = bca([values], [1.0], level=0.9, resamples=2000, seed=3)
    theirs = stats.bootstrap(
        (values,), np.mean, confidence_level=0.9, n_resamples=2000, method="BCa", batch=500,
        rng=np.random.default_rng(3),
    ).confidence_interval  # fmt: skip
    assert found == pytest.approx((theirs.low, theirs.high))


def test_bca_resamples_within_blocks() -> None:
    rng = np.random.default_rng(0)
    apart = [rng.normal(0, 0.1, 20), rng.normal(10, 0.1, 20)]
    found = bca(apart, [0.5, 0.5], level=0.95, resamples=2000, seed=0)
    assert found is not None
    # Unstratified, the interval would be some 3 wide.
    assert 0.02 < found[1] - found[0] < 0.1


@pytest.mark.parametrize(
    "blocks",
    [[np.arange(BCA_FROM - 1.0)], [np.full(BCA_FROM, 2.0)], [np.arange(40.0), np.array([1.0])]],
    ids=["too few", "no spread", "a block of one"],
)
def test_bca_says_nothing_where_it_would_mislead(blocks: list[np.ndarray]) -> None:
    weights = [1 / len(blocks)] * len(blocks)
    assert bca(blocks, weights, level=0.95, resamples=99, seed=0) is None
