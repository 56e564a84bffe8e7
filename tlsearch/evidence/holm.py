"""Many claims at once: Holm's step-down correction and the level that it leaves each claim."""

from collections.abc import Sequence
from typing import NamedTuple


class Step(NamedTuple):
    """One claim's place in the correction.

    `adjusted` is at most alpha exactly if an interval at `level` (such as 0.99) leaves out 0, where
    p and interval come from the same distribution.
    """

    adjusted: float
    level: float
    rejected: bool


def holm(p_values: Sequence[float], *, alpha: float) -> list[Step]:
    """The correction of one family, in the order given.

    Of m claims the k-th smallest p is held against alpha / (m - k + 1), the first that fails stops
    the procedure, and all later ones share its level.
    Source: Holm 1979; a direction may be read off a rejection: Shaffer 1980
    (doi:10.1214/aos/1176345206).
    """
    count = len(p_values)
    order = sorted(range(count), key=lambda i: p_values[i])
    steps: dict[int, Step] = {}
    adjusted, stopped, share = 0.0, False, alpha
    for place, index in enumerate(order):
        adjusted = max(adjusted, min(1.0, (count - place) * p_values[index]))
        if not stopped:
            share = alpha / (count - place)
            stopped = p_values[index] > share
        steps[index] = Step(adjusted, 1 - share, not stopped)
    return [steps[index] for index in range(count)]
