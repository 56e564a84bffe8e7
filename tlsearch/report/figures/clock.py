"""Runs on the clock: side by side as they ran, without the hours when nothing did."""

from typing import NamedTuple

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import ReportData

PAUSE_SECONDS = 60.0
"""Nothing ran for longer: the study was stopped, or prepared. A guess."""
GROUPS = (
    "complete trials",
    "pruned trials",
    "failed and diverged trials",
    "baselines",
    "confirmations",
)


class Stretch(NamedTuple):
    """A run from `start` to `end`, in seconds since the first began, pauses cut out; `lane` is a
    place that no other run had at that time.
    """

    row: RunRow
    lane: int
    start: float
    end: float


class Clock(NamedTuple):
    """All runs that ended, by their beginning; pauses as (where they were cut, seconds)."""

    stretches: tuple[Stretch, ...]
    pauses: tuple[tuple[float, float], ...]
    num_lanes: int

    @property
    def seconds(self) -> float:
        """From the first beginning to the last end, without pauses."""
        return max((s.end for s in self.stretches), default=0.0)


def find_clock(data: ReportData) -> Clock:
    """The runs on as few lanes as hold them: as many as ran at the same time.

    The stores do not name the worker of a run, so a lane is no worker, only as good as one.
    """
    ended = [row for row in data.summary.rows if row.started and row.ended]
    ended.sort(key=lambda row: row.started)
    stretches: list[Stretch] = []
    pauses: list[tuple[float, float]] = []
    free: list[float] = []  # when each lane is free again
    cut = 0.0
    for row in ended:
        start, end = (
            (moment - ended[0].started).total_seconds() - cut for moment in (row.started, row.ended)
        )
        gap = start - max(free, default=0.0)
        if gap > PAUSE_SECONDS:
            pauses.append((max(free), gap))
            cut, start, end = cut + gap, start - gap, end - gap
        lane = next((i for i, until in enumerate(free) if until <= start), len(free))
        free[lane : lane + 1] = [end]
        stretches.append(Stretch(row, lane, start, end))
    return Clock(tuple(stretches), tuple(pauses), len(free))


def group_of(row: RunRow) -> str:
    """Which of `GROUPS` a run belongs to."""
    if row.run.role != "trial":
        return "baselines" if row.run.role == "baseline" else "confirmations"
    state = row.state if row.state in ("complete", "pruned") else "failed and diverged"
    return f"{state} trials"


def unit(seconds: float) -> tuple[str, float]:
    """The unit of an axis of so many seconds, and its seconds."""
    return next(
        found
        for found in (("hours", 3600.0), ("minutes", 60.0), ("seconds", 1.0))
        if seconds >= 2 * found[1] or found[1] == 1
    )
