"""The coordinator: a study's store, MLflow's mirror and the screen behind the scheduler's runs."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from tlsearch.execution.events import (
    EpochSeen,
    Notice,
    Remark,
    RunEnded,
    RunStarted,
    Tick,
    Watcher,
)
from tlsearch.execution.executor import Executor
from tlsearch.execution.interrupts import Interrupts
from tlsearch.execution.messages import Event, Job, Setting, TrainJob
from tlsearch.execution.runs import Ending, Run
from tlsearch.execution.scheduler import MAX_DEATHS, MAX_FAULTS, POLL_SECONDS, Scheduler
from tlsearch.search.job_maker import MakeJob
from tlsearch.search.mirroring import (
    STATUS,
    end_tags,
    epoch_metrics,
    keep_evaluation,
    measure_metrics,
    run_name,
    run_params,
    run_tags,
)
from tlsearch.tracking.mlflow_logger import Mirror
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

__all__ = ["MAX_DEATHS", "MAX_FAULTS", "POLL_SECONDS", "Coordinator", "run_errand"]

NextRun = Callable[[], Run | None]


def run_errand(
    executor: Executor, job: Job, *, watch: Watcher, interrupts: Interrupts, folder: Path
) -> Event:
    """Have an idle worker of `executor` do one job; see `Scheduler.run_job`."""
    scheduler = Scheduler(executor=executor, watch=watch, interrupts=interrupts, folder=folder)
    return scheduler.run_job(job)


class Teller(Protocol):
    """Keeps what becomes of runs: a `Ledger`, or many behind one face."""

    def report(self, run: Run, result: EpochResult, *, fold: FoldResult | None) -> bool:
        """Record an epoch; whether the run is to be pruned."""
        ...

    def tell(
        self, run: Run, ending: Ending, result: TrainResult | None, *, reason: str
    ) -> float | None:
        """Record how a run ended; its value if it is complete."""
        ...

    def pause(self, run: Run) -> None:
        """Put a run back in the queue."""
        ...


class Coordinator:
    """Carries out runs until there are none, the user leaves, or the work cannot go on."""

    def __init__(
        self,
        *,
        ledger: Teller,
        executor: Executor,
        mirror: Mirror,
        watch: Watcher,
        interrupts: Interrupts,
        folder: Path,
        make_job: MakeJob,
    ) -> None:
        self._ledger, self._mirror, self._watch = ledger, mirror, watch
        self._folder, self._make_job = folder, make_job
        self._scheduler = Scheduler(
            executor=executor, watch=self._note, interrupts=interrupts, folder=folder
        )
        self._seen: set[tuple[str, int]] = set()
        self._setting: Setting | None = None
        self._next_run: NextRun = lambda: None

    def configure(self, setting: Setting) -> None:
        """Give all workers what the trainings share."""
        self._setting = setting
        self._scheduler.configure(setting)

    def errand(self, job: Job) -> Event:
        """Have a worker do one job that is no run."""
        return self._scheduler.run_job(job)

    def carry_out(self, next_run: NextRun) -> None:
        """Run what `next_run` gives until it gives None and nothing is under way.

        Raises:
            Interrupted: the user asked to leave; what was under way is saved and will go on.
            WorkError: the work cannot go on: a full disk, or the same fault again and again.
        """
        self._next_run = next_run
        self._scheduler.run(self)

    def next_run(self) -> tuple[Run, TrainJob] | None:
        """The next run, claimed, and its job."""
        run = self._next_run()
        return None if run is None else (run, self._make_job(run, self._folder))

    def started(self, run: Run) -> None:
        """Show it in MLflow and on the screen."""
        assert self._setting is not None
        self._mirror.start(
            run.key,
            run_name=run_name(run),
            params=run_params(run, self._setting.of(run.backbone).groups),
            tags=run_tags(run),
        )
        self._watch(RunStarted(run))

    def epoch(self, run: Run, result: EpochResult, fold: FoldResult | None) -> bool:
        """Record an epoch, and the fold that ended with it; whether the run is to be pruned."""
        is_new = (run.key, result.epoch) not in self._seen
        self._seen.add((run.key, result.epoch))
        prune = self._ledger.report(run, result, fold=fold)
        self._mirror.metrics(
            run.key,
            step=result.epoch,
            values=epoch_metrics(result, fold),
            timestamp_ms=_now_ms(),
        )
        if is_new:
            self._watch(EpochSeen(run, result))
        return prune

    def ended(self, run: Run, ending: Ending, result: TrainResult | None, reason: str) -> None:
        """Record how a run ended."""
        artifacts = {}
        if result is not None and result.confusion and self._setting is not None:
            names = self._setting.data.class_names  # before the store: what it has is whole
            artifacts = keep_evaluation(self._folder, run.key, names, result.confusion)
        value = self._ledger.tell(run, ending, result, reason=reason)
        if result is not None and result.measures:
            self._mirror.metrics(
                run.key,
                step=result.epochs[-1].epoch,
                values=measure_metrics(result.measures),
                timestamp_ms=_now_ms(),
            )
        self._mirror.finish(
            run.key, status=STATUS[ending], tags=end_tags(ending, reason), artifacts=artifacts
        )
        self._watch(RunEnded(run, ending, value, reason))

    def paused(self, run: Run) -> None:
        """Put a run back in the queue: it goes on from its checkpoint."""
        self._ledger.pause(run)
        self._mirror.finish(run.key, status="SCHEDULED", tags=end_tags(None, ""), artifacts={})
        self._watch(RunEnded(run, None, None, ""))

    def _note(self, notice: Notice) -> None:
        if isinstance(notice, Tick):
            for text in self._mirror.take_notices():
                self._watch(Remark(text))
        self._watch(notice)


def _now_ms() -> int:
    return int(time.time() * 1000)
