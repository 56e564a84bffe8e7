"""Whether one figure puts things into the order of another."""

import math
from typing import NamedTuple

import numpy as np

from tlsearch.evidence.measures.sweeps import score_correlation


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
    from scipy.stats import spearmanr  # half a second, and only studies over networks ask

    whole = np.isfinite(scores) & np.isfinite(values)
    if whole.sum() < 2:
        return None
    scores, values = scores[whole], values[whole]
    kendall = score_correlation(scores, values)
    if math.isnan(kendall):
        return Agreement(math.nan, math.nan, int(whole.sum()))
    return Agreement(kendall, float(spearmanr(scores, values).statistic), int(whole.sum()))
