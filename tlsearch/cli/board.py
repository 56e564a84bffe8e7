"""What a run looks like at this moment, kept up to date from the coordinator's notices."""

import time
from collections import Counter
from dataclasses import dataclass, field

from tlsearch.search.runs import RunSpec
from tlsearch.search.watching import (
    EpochSeen,
    Notice,
    Preparing,
    RunEnded,
    RunStarted,
    StageStarted,
)
from tlsearch.training.results import EpochResult


@dataclass
class Running:
    """A run on a worker."""

    spec: RunSpec
    since: float
    last: EpochResult | None = None


@dataclass
class Board:
    """The state behind the live view and the plain lines."""

    metric: str
    preparing: Preparing | None = None
    stage: StageStarted | None = None
    done: int = 0
    running: dict[str, Running] = field(default_factory=dict)
    endings: Counter[str] = field(default_factory=Counter)
    best: tuple[float, RunSpec] | None = None
    baselines: dict[str, float | None] = field(default_factory=dict)
    stage_since: float = 0.0
    spent: list[float] = field(default_factory=list)

    def note(self, notice: Notice) -> None:
        """Take in what happened."""
        match notice:
            case Preparing():
                self.preparing = notice
            case StageStarted():
                self.preparing, self.stage, self.done = None, notice, notice.done
                self.stage_since, self.spent = time.monotonic(), []
                self.best = notice.best
            case RunStarted(spec):
                self.running.setdefault(spec.key, Running(spec, time.monotonic()))
            case EpochSeen(spec, result):
                if spec.key in self.running:
                    self.running[spec.key].last = result
            case RunEnded():
                self._ended(notice)
            case _:
                pass

    def _ended(self, notice: RunEnded) -> None:
        run = self.running.pop(notice.spec.key, None)
        if notice.ending is None:
            return
        if self._counts(notice.spec):
            self.done += 1
            if run is not None:
                self.spent.append(time.monotonic() - run.since)
        if notice.spec.kind == "baseline":
            name = notice.spec.key.rpartition("-seed-")[0]
            self.baselines.setdefault(name, notice.value)
        if notice.spec.kind == "search":
            self.endings[notice.ending] += 1
            if notice.value is not None and self._is_better(notice.value):
                self.best = (notice.value, notice.spec)

    def _counts(self, spec: RunSpec) -> bool:
        """Baselines that come before the search are not part of its total."""
        return self.stage is not None and (self.stage.name != "search" or spec.kind == "search")

    def _is_better(self, value: float) -> bool:
        if self.best is None:
            return True
        return value < self.best[0] if self.metric == "val_loss" else value > self.best[0]

    def seconds_left(self) -> float | None:
        """A guess from the runs of this stage; None before the first has ended."""
        if self.stage is None or not self.spent:
            return None
        left = max(self.stage.total - self.done, 0)
        return left * sum(self.spent) / len(self.spent) / self.stage.workers
