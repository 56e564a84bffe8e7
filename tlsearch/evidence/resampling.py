"""Second opinions from scipy that assume no distribution: sign flips and BCa bootstraps.

They accompany a verdict and do not make it: flips of a few seeds cannot reach a small p, and a BCa
interval is too narrow below `BCA_FROM` pairs (benchmarks/coverage.py).
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

# Measured coverage of a nominal 95 %: 0.72 with 3 pairs, 0.87 with 8, 0.92 with 12, 0.91 to 0.93
# with 20, 0.94 with 30 and with 48.
BCA_FROM = 30


class Flips(NamedTuple):
    """A sign-flip test: its two-sided p, and the smallest p that so few pairs could give."""

    p: float
    smallest: float


def sign_flips(
    blocks: Sequence[np.ndarray], weights: Sequence[float], *, resamples: int, seed: int
) -> Flips:
    """Whether the weighted mean of blocks of paired differences is 0, flipped within each block.

    blocks: each (pairs,). Exact where there are at most `resamples` sign patterns. For accuracy it
    speaks of these test images alone: those of another day are another source of noise.
    Source: Pitman's test as in scipy.stats.permutation_test(permutation_type="samples").
    """
    shares = [weight / len(block) for block, weight in zip(blocks, weights, strict=True)]
    # A flip changes the sign of weight times difference, so blocks flip as one sample.
    terms = np.concatenate(
        [np.asarray(b, dtype=float) * share for b, share in zip(blocks, shares, strict=True)]
    )
    smallest = 2.0 ** (1 - len(terms))
    if len(terms) < 2 or not terms.any():
        return Flips(1.0, smallest)
    test = stats.permutation_test(
        (terms,),
        lambda x, axis: x.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=1000,
        rng=np.random.default_rng(seed),
    )
    return Flips(float(test.pvalue), max(smallest, 2 / (resamples + 1)))


def bca(
    blocks: Sequence[np.ndarray],
    weights: Sequence[float],
    *,
    level: float,
    resamples: int,
    seed: int,
) -> tuple[float, float] | None:
    """The BCa interval of a weighted mean of blocks, each resampled within itself.

    None where it would mislead: fewer than `BCA_FROM` pairs, a block of one, or no spread.
    Source: Efron 1987 (doi:10.1080/01621459.1987.10478410), scipy.stats.bootstrap.
    """
    if sum(map(len, blocks)) < BCA_FROM or min(map(len, blocks)) < 2:
        return None
    if not any(np.ptp(block) for block in blocks):
        return None

    def mean(*samples: np.ndarray, axis: int) -> np.ndarray:
        means = [w * s.mean(axis=axis) for w, s in zip(weights, samples, strict=True)]
        return np.asarray(sum(means))

    # Almost no spread leaves scipy without an answer, which is told below.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            [np.asarray(block, dtype=float) for block in blocks],
            mean,
            confidence_level=level,
            n_resamples=resamples,
            method="BCa",
            vectorized=True,
            rng=np.random.default_rng(seed),
            batch=500,
        ).confidence_interval
    low, high = float(found.low), float(found.high)
    return (low, high) if np.isfinite([low, high]).all() else None
