"""The part of a study's values that an axis shows: a few bad trials would flatten what matters."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from tlsearch.report.figures.canvas import with_room


class Window(NamedTuple):
    """From `low` to `high`; what lies beyond, or has no value, is drawn at the worse edge."""

    low: float
    high: float
    maximise: bool

    @property
    def axis(self) -> list[float]:
        """The axis' range: the window with a margin."""
        return with_room(self.low, self.high)

    def holds(self, value: float | None) -> bool:
        """Whether a value is drawn where it is."""
        return value is not None and self.low <= value <= self.high

    def place(self, value: float | None) -> float:
        """Where a value is drawn."""
        if value is not None and (self.holds(value) or self._is_better(value)):
            return min(max(value, self.low), self.high)
        worst, end = (self.low, self.axis[0]) if self.maximise else (self.high, self.axis[1])
        return worst + 0.6 * (end - worst)

    def share(self, value: float) -> float:
        """How far a value lies from the worse end (0) to the better (1); beyond, at the end."""
        share = (value - self.low) / (self.high - self.low or 1.0)
        return min(max(share if self.maximise else 1 - share, 0.0), 1.0)

    def _is_better(self, value: float) -> bool:
        return value > self.high if self.maximise else value < self.low


def window(values: Iterable[float], *, beside: Iterable[float] = (), maximise: bool) -> Window:
    """The span of the good three quarters of `values`, and of what is shown `beside` them."""
    ordered = sorted(values, reverse=not maximise)
    kept = ordered[len(ordered) // 4 :] + [v for v in beside if math.isfinite(v)]
    return Window(*((min(kept), max(kept)) if kept else (0.0, 1.0)), maximise)


def shown_values(points: Iterable[tuple[str, float | None]]) -> list[float]:
    """The values of complete trials; where there are none, those of all that have one."""
    found = list(points)
    complete = [v for state, v in found if state == "complete" and v is not None]
    return complete or [v for _, v in found if v is not None]
