"""What a coordinator tells whoever watches it; the command line draws it, tests record it."""

from dataclasses import dataclass
from typing import Protocol

from tlsearch.execution.runs import Ending, Run
from tlsearch.training.results import EpochResult


@dataclass(frozen=True)
class Preparing:
    """Work before the first run: share done (0 to 1) and what it is."""

    share: float
    text: str


@dataclass(frozen=True)
class StageStarted:
    """A stage of the study begins or goes on: `done` of `total` runs are already there. `best` is
    the search's best trial before it with its value; None in a comparison, which has no best.
    """

    name: str
    done: int
    total: int
    workers: int
    best: tuple[float, Run] | None = None


@dataclass(frozen=True)
class RunStarted:
    """A run is on a worker, at its start or from its checkpoint."""

    run: Run


@dataclass(frozen=True)
class EpochSeen:
    """A run finished an epoch."""

    run: Run
    result: EpochResult


@dataclass(frozen=True)
class RunEnded:
    """A run has an ending, or is paused and will go on."""

    run: Run
    ending: Ending | None
    value: float | None
    reason: str


@dataclass(frozen=True)
class Remark:
    """One line that a user should read."""

    text: str


@dataclass(frozen=True)
class Tick:
    """Nothing happened for a moment; time goes on."""


Notice = Preparing | StageStarted | RunStarted | EpochSeen | RunEnded | Remark | Tick


class Watcher(Protocol):
    """Is told everything, in order, from the coordinator's own thread."""

    def __call__(self, notice: Notice) -> None:
        """Take note; must not block."""
        ...
