"""Measures over many trainings: tuning trials, sweeps of rates, ranks of arms."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln


def expected_best(values: np.ndarray) -> np.ndarray:
    """The expected best of n = 1 … N trials drawn from N without replacement, (trials,).

    values: (trials,), more is better; failed trials as the worst value possible, not left out.
    The sum over the sorted values v_i of v_i C(i - 1, n - 1) / C(N, n).
    Source: Dodge et al. 2019 (arXiv:1909.03004) draw with replacement, which is biased downwards;
    without: Tang et al. 2020 (arXiv:2004.13705).
    """
    values = np.sort(np.asarray(values, dtype=float))
    count = len(values)
    rank = np.arange(1, count + 1)[None, :]
    n = np.arange(1, count + 1)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = _log_choose(rank - 1, n - 1) - _log_choose(np.array(count), n)
    weights = np.where(rank >= n, np.exp(np.where(rank >= n, logs, 0.0)), 0.0)
    return np.asarray(weights @ values)


def trials_to_come_within(values: np.ndarray, *, margin: float) -> int:
    """The fewest trials whose expected best is at most `margin` below the best of all.

    values: (trials,), more is better.
    Source: claims.md, A1 and A2 (margin 0.01, one point of accuracy); the curve: `expected_best`.
    """
    curve = expected_best(values)
    # The curve's last point is the best itself, up to rounding.
    return int(np.argmax(curve >= curve[-1] - margin - 1e-12)) + 1


def usable_decades(rates: np.ndarray, accuracies: np.ndarray, *, margin: float) -> float:
    """Width, in decades, of the stretch of rates around the best that stays within `margin` of it.

    rates: (rates,), ascending and positive; accuracies: (rates,), a diverged run as 0 or not a
    number. Ends lie where the line between two neighbours (over log rate) crosses best - margin,
    so that the width is no multiple of the grid's step; at the sweep's own end it is cut off.
    Source: claims.md, A5 (margin 0.02).
    """
    place = np.log10(np.asarray(rates, dtype=float))
    if (np.diff(place) <= 0).any() or not np.isfinite(place).all():
        raise ValueError("rates must be positive and ascend")
    heights = np.nan_to_num(np.asarray(accuracies, dtype=float), nan=0.0)
    best = int(heights.argmax())
    bar = heights[best] - margin

    def end(step: int) -> float:
        at = best
        while 0 <= at + step < len(heights):
            after = at + step
            if heights[after] < bar:
                share = (heights[at] - bar) / (heights[at] - heights[after])
                return float(place[at] + share * (place[after] - place[at]))
            at = after
        return float(place[at])

    return end(1) - end(-1)


def divergence_share(final_losses: np.ndarray) -> float:
    """Share of a sweep's runs that ended without a finite loss; final_losses: (runs,).

    Source: claims.md, A4 and C12.
    """
    return float((~np.isfinite(np.asarray(final_losses, dtype=float))).mean())


def mean_rank(scores: np.ndarray) -> np.ndarray:
    """Mean rank of each arm over scenarios, 1 the best, ties sharing their mean rank, (arms,).

    scores: (scenarios, arms), more is better, none missing.
    Source: Demšar 2006, JMLR 7.
    """
    scores = np.asarray(scores, dtype=float)
    if np.isnan(scores).any():
        raise ValueError("every arm needs a score in every scenario")
    above = (scores[:, :, None] < scores[:, None, :]).sum(axis=2)
    equal = (scores[:, :, None] == scores[:, None, :]).sum(axis=2)
    return np.asarray((above + (equal + 1) / 2).mean(axis=0))


def score_correlation(scores: np.ndarray, accuracies: np.ndarray) -> float:
    """Kendall's tau-b between scores of models and the accuracy they reached, both (models,).

    Not a number if one of them is constant.
    Source: You et al. 2021 (arXiv:2102.11005) judge transferability scores by a tau.
    """
    signs = [np.sign(np.subtract.outer(v, v)) for v in (np.asarray(scores), np.asarray(accuracies))]
    below = math.sqrt(float((signs[0] ** 2).sum()) * float((signs[1] ** 2).sum()))
    return float((signs[0] * signs[1]).sum()) / below if below else math.nan


def _log_choose(n: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1))


# Whether one figure puts things into the order of another.


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


# How well a way of splitting the data does its work.


def class_share_distance(parts: Sequence[np.ndarray], *, num_classes: int) -> float:
    """Largest total-variation distance of class shares between any two parts, 0 … 1.

    parts: labels 0 … num_classes - 1 of each part, (members,), none empty. The distance is half
    the sum over classes of the difference in share.
    Source: claims.md, B1 and B2.
    """
    if any(len(part) == 0 for part in parts):
        raise ValueError("a part without members has no class shares")
    shares = np.stack([np.bincount(part, minlength=num_classes) / len(part) for part in parts])
    between = np.abs(shares[:, None] - shares[None]).sum(axis=2) / 2
    return float(between.max())


def future_error(estimates: np.ndarray, future: np.ndarray) -> np.ndarray:
    """Absolute difference between estimated and later accuracy, both shares of (redraws,).

    Source: claims.md, B3.
    """
    return np.asarray(np.abs(np.subtract(estimates, future, dtype=float)))


def estimate_spread(estimates: np.ndarray) -> np.ndarray:
    """Distance of each estimate from the median of all redraws, (redraws,): a spread in parts.

    One value a redraw, so that two splits' spreads can be compared as means.
    Source: Brown and Forsythe 1974 (doi:10.1080/01621459.1974.10482955).
    """
    estimates = np.asarray(estimates, dtype=float)
    return np.asarray(np.abs(estimates - np.median(estimates)))
