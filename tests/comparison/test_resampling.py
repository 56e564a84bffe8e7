import numpy as np
import pytest
from scipy import stats

from tlsearch.comparison.variance import BCA_FROM, bca, sign_flips


def test_flips_by_hand() -> None:
    # |1 + 2 + 3| is reached by all plus and all minus: 2 of 8 patterns.
    flips = sign_flips([np.array([1.0, 2.0, 3.0])], [1.0], resamples=999, seed=0)
    assert flips.p == pytest.approx(2 / 8)
    assert flips.smallest == pytest.approx(2 / 8)
    # 3 + 2 - 1 = 4 is reached or passed by +++, ++- (the 1 minus) and their mirrors.
    assert sign_flips([np.array([-1.0, 2.0, 3.0])], [1.0], resamples=999, seed=0).p == 4 / 8


def test_five_pairs_cannot_reach_five_per_cent() -> None:
    flips = sign_flips([np.arange(1.0, 6.0)], [1.0], resamples=999, seed=0)
    assert flips.p == flips.smallest == pytest.approx(0.0625)


def test_blocks_weigh_by_their_share_not_by_their_size() -> None:
    # Means 1 and -1 cancel although the second has more pairs: every pattern is as extreme.
    blocks = [np.array([1.0, 1.0]), np.full(4, -1.0)]
    assert sign_flips(blocks, [0.5, 0.5], resamples=999, seed=0).p == 1
    # Pooling makes small p possible: 2 blocks of 5 pairs, 2 of 1,024 patterns.
    both = sign_flips([np.arange(1.0, 6.0)] * 2, [0.5, 0.5], resamples=5000, seed=0)
    assert both.p == pytest.approx(2 / 1024)


def test_no_difference_and_one_pair() -> None:
    assert sign_flips([np.zeros(8)], [1.0], resamples=99, seed=0).p == 1
    assert sign_flips([np.array([3.0])], [1.0], resamples=99, seed=0).p == 1


def test_random_flips_need_resamples_to_be_small() -> None:
    flips = sign_flips([np.arange(1.0, 41.0)], [1.0], resamples=199, seed=0)
    assert flips.p == flips.smallest == pytest.approx(2 / 200)


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
