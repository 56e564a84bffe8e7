"""Whether one figure puts things into the order of another."""

import math
from typing import NamedTuple

import numpy as np
from scipy.stats import kendalltau, spearmanr


class Agreement(NamedTuple):
    """Rank correlations of `num` pairs: 1 the same order, -1 the reverse, about 0 no relation; not
    a number where all values of one side are equal. `chance` is how often shuffled values would
    have been in exactly the same order: with few pairs that is no rare thing.
    """

    kendall: float
    spearman: float
    num: int

    @property
    def chance(self) -> float:
        """1 / num!, the share of all orders that is the right one."""
        return 1 / math.factorial(self.num)


def rank_agreement(scores: np.ndarray, values: np.ndarray) -> Agreement | None:
    """Kendall's τ-b and Spearman's ρ of scores (N,) and values (N,), over pairs where both are
    finite; None where fewer than two are.

    Source: Kendall 1938 (doi:10.2307/2332226), Spearman 1904 (doi:10.2307/1412159).
    """
    whole = np.isfinite(scores) & np.isfinite(values)
    if whole.sum() < 2:
        return None
    scores, values = scores[whole], values[whole]
    if np.ptp(scores) == 0 or np.ptp(values) == 0:
        return Agreement(math.nan, math.nan, int(whole.sum()))
    kendall, spearman = kendalltau(scores, values), spearmanr(scores, values)
    return Agreement(float(kendall.statistic), float(spearman.statistic), int(whole.sum()))
