"""Measures of curves: of a training's losses, accuracies and gradients, of tuning, of sweeps; and
scores of each class."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


def oscillation(losses: np.ndarray) -> float:
    """Sample standard deviation of validation loss over the last third of the epochs.

    losses: (epochs,), one an epoch; the third is rounded up and has at least two epochs. Not a
    number if any of these losses is not finite, or with a single epoch.
    Source: claims.md, A1 and A2.
    """
    losses = np.asarray(losses, dtype=float)
    last = losses[-max(2, math.ceil(len(losses) / 3)) :]
    if len(last) < 2 or not np.isfinite(last).all():
        return math.nan
    return float(last.std(ddof=1))


def epochs_to_share(accuracies: np.ndarray, *, share: float) -> int:
    """The first epoch, counted from 1, whose accuracy is at least `share` of the last one's.

    accuracies: (epochs,), of validation, as shares.
    Source: claims.md, A1 (share 0.95).
    """
    accuracies = np.asarray(accuracies, dtype=float)
    return int(np.argmax(accuracies >= share * accuracies[-1])) + 1


def early_gradient_norm(norms: np.ndarray, *, first: float, planned: int) -> float:
    """The largest gradient norm in the `first` share of all `planned` steps, at least one step.

    norms: (steps,) of those that were taken, before clipping. Infinite if one of them is not
    finite: that is an explosion.
    Source: claims.md, A4 (first 0.1).
    """
    norms = np.asarray(norms, dtype=float)
    early = norms[: max(1, math.ceil(first * planned))]
    return float(early.max()) if np.isfinite(early).all() else math.inf


def gradient_noise_scale(
    small_norm2: np.ndarray, large_norm2: np.ndarray, *, small: int, large: float
) -> float:
    """The batch size, in images, at which noise and signal of the gradient are equal.

    small_norm2, large_norm2: (batches,), squared norms of gradients at the same weights, of batches
    of `small` and of `large` images; infinitely many stand for all that there are. Both parts are
    estimated without bias and averaged before the division. Infinite where the signal is not above
    0: more batches are needed.
    Source: McCandlish et al. 2018, appendix A.1 (arXiv:1812.06162).
    """
    assert 0 < small < large
    low, high = float(np.mean(small_norm2)), float(np.mean(large_norm2))
    share = small / large
    signal = (high - share * low) / (1 - share)
    noise = (low - high) / (1 / small - 1 / large)
    return max(noise, 0.0) / signal if signal > 0 else math.inf


def expected_best(values: np.ndarray) -> np.ndarray:
    """The expected best of n = 1 … N trials drawn from N without replacement, (trials,).

    values: (trials,), more is better; failed trials as the worst value possible, not left out.
    The sum over the sorted values v_i of v_i C(i - 1, n - 1) / C(N, n).
    Source: Dodge et al. 2019 (arXiv:1909.03004) draw with replacement, which is biased downwards;
    without: Tang et al. 2020 (arXiv:2004.13705).
    """
    values = np.sort(np.asarray(values, dtype=float))
    count, ranks = len(values), np.arange(1, len(values) + 1)
    weights, curve = np.full(count, 1 / count), np.empty(count)
    for n in range(1, count + 1):  # each weight from the one before, without a binomial coefficient
        curve[n - 1] = weights @ values
        weights = weights * np.clip(ranks - n, 0, None) * ((n + 1) / (n * max(count - n, 1)))
    return curve


def trials_to_come_within(values: np.ndarray, *, margin: float) -> int:
    """The fewest trials whose expected best is at most `margin` below the best of all.

    values: (trials,), more is better.
    Source: claims.md, A1 and A2 (margin 0.01, one point of accuracy); the curve: `expected_best`.
    """
    curve = expected_best(values)
    # The curve's last point is the best itself, up to rounding.
    return int(np.argmax(curve >= curve[-1] - margin - 1e-12)) + 1


def expected_gain(values: np.ndarray, *, more: int, noise: float) -> float:
    """What `more` trials would probably add to the true value of the best of those that there are;
    on the high side where values have a ceiling, and for independent draws.

    values: (trials,), more is better, -inf for trials without one; one finite value at the least.
    noise: standard deviation of what chance does to each value.
    Each doubling of the trials is taken to add what the last two added on average: the best of all
    of them less the expected best of a quarter, of values that the noise was taken out of. So it is
    for independent draws from a tail that falls off as that of an exponential or a normal.
    """
    values = np.asarray(values, dtype=float)
    # As in `expected_best`, no trial is left out.
    values = np.where(np.isfinite(values), values, values[np.isfinite(values)].min())
    count, quarter = len(values), math.ceil(len(values) / 4)
    if count == quarter:
        return 0.0
    curve = expected_best(without_noise(values, noise=noise))
    a_doubling = (curve[-1] - curve[quarter - 1]) / math.log2(count / quarter)
    return max(0.0, float(a_doubling)) * math.log2(1 + more / count)


_NEAR, _CELLS, _STEPS = 10.0, 101, 100
"""Noises below the best from which on values stay as they are; points of the prior between, and
steps that it is fitted in, after which little changes.
"""


def without_noise(values: np.ndarray, *, noise: float) -> np.ndarray:
    """Each value's posterior mean, (trials,): the best of many noisy values is too good, and most
    so where they lie close. Values far below the best stay as they are.

    The prior is what makes the values most likely, of any shape (Kiefer and Wolfowitz 1956), and is
    fitted by expectation maximisation on a grid: Jiang and Zhang 2009 (arXiv:0908.1709).
    """
    best = values.max()
    near = values > best - _NEAR * noise
    if noise <= 0 or not np.ptp(values[near]):
        return values
    grid = np.linspace(values[near].min(), best, _CELLS)
    likelihood = np.exp(-0.5 * ((values[near, None] - grid) / noise) ** 2)
    prior = np.full(_CELLS, 1 / _CELLS)
    for _ in range(_STEPS):
        joint = likelihood * prior
        posterior = joint / joint.sum(axis=1, keepdims=True)
        prior = posterior.mean(axis=0)
    found = values.copy()
    found[near] = posterior @ grid
    return found


def usable_decades(rates: np.ndarray, accuracies: np.ndarray, *, margin: float) -> float:
    """Width, in decades, of the stretch of rates around the best that stays within `margin` of it.

    rates: (rates,), ascending and positive; accuracies: (rates,), a diverged run as 0 or not a
    number. Ends lie where the line between two neighbours (over log rate) crosses best - margin,
    so that the width is no multiple of the grid's step; at the sweep's own end it is cut off.
    Source: claims.md, A5 (margin 0.02).
    """
    place = np.log10(np.asarray(rates, dtype=float))
    assert np.isfinite(place).all()
    assert (np.diff(place) > 0).all()
    heights = np.nan_to_num(np.asarray(accuracies, dtype=float), nan=0.0)
    best = int(heights.argmax())
    bar = heights[best] - margin

    def end(step: int) -> float:
        at = best
        while 0 <= at + step < len(heights) and heights[at + step] >= bar:
            at += step
        after = at + step
        if not 0 <= after < len(heights):
            return float(place[at])
        share = (heights[at] - bar) / (heights[at] - heights[after])
        return float(place[at] + share * (place[after] - place[at]))

    return end(1) - end(-1)


class ClassScores(NamedTuple):
    """Precision, recall, F1 and number of images of each class, shape (K,) each.

    A class that is never predicted has precision 0, as in scikit-learn with `zero_division=0`.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


def confusion_matrix(
    labels: np.ndarray, predictions: np.ndarray, *, num_classes: int
) -> np.ndarray:
    """Counts (K, K): row = true class, column = predicted class."""
    flat = np.bincount(labels * num_classes + predictions, minlength=num_classes**2)
    return flat.reshape(num_classes, num_classes)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Scores of each class from a confusion matrix (K, K)."""
    hits = np.diag(confusion).astype(float)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    precision = np.divide(hits, predicted, out=np.zeros_like(hits), where=predicted > 0)
    recall = np.divide(hits, support, out=np.zeros_like(hits), where=support > 0)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(hits), where=total > 0)
    return ClassScores(precision=precision, recall=recall, f1=f1, support=support)


class ClassBalance(NamedTuple):
    """What an accuracy hides where classes differ in size: the `largest` class and its share of all
    images, which always naming it gets right; the `smallest`, its share, and how much of it was
    recognised; the class of which the least was, the `worst`; and how many have images.
    """

    largest: str
    largest_share: float
    smallest: str
    smallest_share: float
    smallest_recall: float
    worst: str
    worst_recall: float
    num_classes: int


def class_balance(confusion: np.ndarray, names: Sequence[str]) -> ClassBalance:
    """The balance of the classes that have images; of several smallest the worst recognised one.

    confusion: (K, K), row = true class, one image or more.
    """
    scores = class_scores(confusion)
    shares = scores.support / scores.support.sum()
    there = np.flatnonzero(scores.support)
    largest = int(shares.argmax())
    smallest = int(min(there, key=lambda i: (shares[i], scores.recall[i])))
    worst = int(min(there, key=lambda i: (scores.recall[i], shares[i])))
    return ClassBalance(
        largest=names[largest],
        largest_share=float(shares[largest]),
        smallest=names[smallest],
        smallest_share=float(shares[smallest]),
        smallest_recall=float(scores.recall[smallest]),
        worst=names[worst],
        worst_recall=float(scores.recall[worst]),
        num_classes=len(there),
    )
