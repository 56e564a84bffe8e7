"""Splits in time: what comes later is predicted from what came before."""

import numpy as np

from tlsearch.data.images import ImageSet
from tlsearch.data.splits.parts import Split, empty_part, not_told
from tlsearch.errors import Problem, RequestError
from tlsearch.study.data import SplitConfig


def in_time(data: ImageSet, split: SplitConfig) -> tuple[Split, ...]:
    """Train, then validate, then test; with folds an expanding window over what is not tested, cut
    as scikit-learn's TimeSeriesSplit does.

    `gap` images before each part are left out. Images of one time stay in one part: a border among
    them moves to their nearer end. Nothing is drawn by lot.

    Raises:
        RequestError: times are missing, or a part would be empty.
    """
    pool = data.usable
    if data.times is None:
        raise not_told("times", split, None)
    times = data.times[pool]
    missing = int(np.isnan(times).sum())
    if missing:
        raise not_told("times", split, missing)
    order = np.argsort(times, kind="stable")
    rows, times = pool[order], times[order]

    test_from = edge(times, len(rows) - round(len(rows) * split.test))
    end = test_from - split.gap
    if split.folds:
        size = end // (split.folds + 1)
        borders = [end - size * left for left in range(split.folds, 0, -1)]
    else:
        borders = [end - round(len(rows) * split.validation)]
    if borders[0] - split.gap < 1:
        if split.gap and borders[0] + split.gap > 0:
            rule = f"leaves none of {len(rows)} images to train on"
            remedy = "leave out fewer between the parts, or make validation and test smaller"
            raise RequestError(str(Problem("data.split.gap", str(split.gap), rule, remedy)))
        raise empty_part("train part", len(rows), split)
    starts = [edge(times, border) for border in borders]
    ends = [*starts[1:], max(end, 0)]
    test = np.sort(rows[test_from:])
    return tuple(
        Split(
            train=np.sort(rows[: max(start - split.gap, 0)]),
            validation=np.sort(rows[start:stop]),
            test=test,
        )
        for start, stop in zip(starts, ends, strict=True)
    )


def edge(times: np.ndarray, border: int) -> int:
    """`border`, or the nearer end of the run of equal `times`, ascending, that it would cut."""
    if not 0 < border < len(times):
        return border
    first = int(np.searchsorted(times, times[border], side="left"))
    last = int(np.searchsorted(times, times[border], side="right"))
    if first == border:
        return border
    return first if border - first <= last - border else last
