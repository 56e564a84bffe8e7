"""What the scheduler and the store tell whoever watches; see `tlsearch.execution.events`."""

from tlsearch.execution.events import (
    EpochSeen,
    Notice,
    Preparing,
    Remark,
    RunEnded,
    RunStarted,
    StageStarted,
    Tick,
    Watcher,
)

__all__ = [
    "EpochSeen",
    "Notice",
    "Preparing",
    "Remark",
    "RunEnded",
    "RunStarted",
    "StageStarted",
    "Tick",
    "Watcher",
]
