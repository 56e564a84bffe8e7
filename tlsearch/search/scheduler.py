"""The coordinator: asks the ledger, drives the workers, tells the ledger, mirrors and watches.

One loop in one thread is the only writer of the truth. Workers that die are replaced, a run that
was under way goes on from its checkpoint.
"""

import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from tlsearch.config.paths import checkpoint_path
from tlsearch.errors import RequestError, TlsearchError, WorkError
from tlsearch.execution.executor import Executor
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import (
    EpochDone,
    Event,
    Job,
    JobFailed,
    Progress,
    Setting,
    TrainDone,
    WorkerDied,
)
from tlsearch.execution.runs import Ending, Run
from tlsearch.search.events import EpochSeen, Preparing, Remark, RunEnded, RunStarted, Tick, Watcher
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

# One job that is no run: preparing a study, scoring the test part, making weights again.


POLL_SECONDS = 0.5
MAX_DEATHS = 3
"""A job whose worker dies this often is given up: it is probably what kills it."""


def run_errand(
    executor: Executor, job: Job, *, watch: Watcher, interrupts: Interrupts, folder: Path
) -> Event:
    """Have an idle worker do `job` and return its answer.

    Raises:
        RequestError: what was asked for cannot be, in the worker's words.
        WorkError: it failed, or its workers died again and again.
        Interrupted: the user asked to leave; an errand leaves nothing half-written.
    """
    for _ in range(MAX_DEATHS):
        worker = executor.idle()[0]
        executor.submit(worker, job)
        died = False
        while not died:
            for owner, event in executor.events(timeout=POLL_SECONDS):
                if owner != worker:
                    continue
                if isinstance(event, Progress):
                    watch(Preparing(event.share, event.text))
                elif isinstance(event, EpochDone):
                    executor.answer(worker, "continue")
                elif isinstance(event, WorkerDied):
                    died = True
                else:
                    executor.release(worker)
                    if isinstance(event, JobFailed):
                        raise _error_of(event, folder)
                    return event
            watch(Tick())
            if interrupts.stopping:
                executor.shutdown(now=True)
                raise Interrupted("stopped as asked; run again to carry on")
    raise WorkError(
        f"the worker died {MAX_DEATHS} times while it did {type(job).__name__}; is there enough "
        "memory?"
    )


def log_fault(event: JobFailed, folder: Path) -> Path:
    """Keep the trace of a fault of ours for a bug report; where it was kept."""
    path = folder / "faults.log"
    with path.open("a") as log:
        log.write(f"{event.key}: {event.message}\n{event.details}\n")
    return path


def _error_of(event: JobFailed, folder: Path) -> TlsearchError:
    if event.exit_code is None:
        return WorkError(f"{event.message} — the trace is in {log_fault(event, folder)}")
    kind = RequestError if event.exit_code == RequestError.exit_code else WorkError
    return kind(event.message)


MAX_FAULTS = 3
"""So many runs in a row that fail by a fault of the program end the study: more would fail too."""

NextRun = Callable[[], Run | None]


class Teller(Protocol):
    """Keeps what a coordinator has to tell of its runs: a `Ledger`, or many behind one face."""

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
        self._ledger, self._executor, self._mirror = ledger, executor, mirror
        self._watch, self._interrupts, self._folder = watch, interrupts, folder
        self._make_job = make_job
        self._active: dict[int, Run] = {}
        self._deaths: Counter[str] = Counter()
        self._faults = 0
        self._seen: set[tuple[str, int]] = set()
        self._told_of_stop = False
        self._setting: Setting | None = None

    def configure(self, setting: Setting) -> None:
        """Give all workers what the trainings share."""
        self._setting = setting
        self._executor.configure(setting)

    def errand(self, job: Job) -> Event:
        """Have a worker do one job that is no run."""
        return run_errand(
            self._executor,
            job,
            watch=self._watch,
            interrupts=self._interrupts,
            folder=self._folder,
        )

    def carry_out(self, next_run: NextRun) -> None:
        """Run what `next_run` gives until it gives None and nothing is under way.

        Raises:
            Interrupted: the user asked to leave; what was under way is saved and will go on.
            WorkError: the work cannot go on: a full disk, or the same fault again and again.
        """
        try:
            while True:
                self._dispatch(next_run)
                if not self._active:
                    break
                for worker, event in self._executor.events(timeout=POLL_SECONDS):
                    self._handle(worker, event)
                self._after_events()
        except BaseException:
            self._put_back()
            raise
        if self._interrupts.stopping:
            raise Interrupted("stopped as asked; everything is kept, run again to carry on")

    def _dispatch(self, next_run: NextRun) -> None:
        for worker in self._executor.idle():
            if self._interrupts.stopping:
                return
            run = next_run()
            if run is None:
                return
            self._start(worker, run)

    def _start(self, worker: int, run: Run) -> None:
        spec = run
        self._active[worker] = run
        self._executor.submit(worker, self._make_job(spec, self._folder))
        assert self._setting is not None
        self._mirror.start(
            spec.key,
            run_name=run_name(spec),
            params=run_params(spec, self._setting.of(spec.backbone).groups),
            tags=run_tags(spec),
        )
        self._watch(RunStarted(spec))

    def _handle(self, worker: int, event: Event) -> None:
        match event:
            case Progress(share, text):
                self._watch(Preparing(share, text))
            case EpochDone():
                self._epoch(worker, event)
            case TrainDone():
                self._ended(worker, event)
            case JobFailed():
                self._failed(worker, event)
            case WorkerDied():
                self._died(worker, event)
            case _:
                raise AssertionError(f"unexpected {event!r}")

    def _epoch(self, worker: int, event: EpochDone) -> None:
        run = self._active.get(worker)
        if run is None or run.key != event.key:
            return  # of a worker that has been replaced
        is_new = (event.key, event.result.epoch) not in self._seen
        self._seen.add((event.key, event.result.epoch))
        prune = self._ledger.report(run, event.result, fold=event.fold)
        stopping = self._interrupts.stopping
        # The worker waits for this answer: everything else comes after it.
        self._executor.answer(worker, "stop" if prune else "pause" if stopping else "continue")
        self._mirror.metrics(
            event.key,
            step=event.result.epoch,
            values=epoch_metrics(event.result, event.fold),
            timestamp_ms=int(time.time() * 1000),
        )
        if is_new:
            self._watch(EpochSeen(run, event.result))

    def _ended(self, worker: int, event: TrainDone) -> None:
        self._executor.release(worker)
        run = self._active.pop(worker)
        if event.ending == "paused":
            self._pause(run)
            return
        ending: Ending = "pruned" if event.ending == "stopped" else event.ending
        self._faults = 0
        artifacts = self._evaluation(run, event.result)
        self._tell(run, ending, event.result, event.result.reason, artifacts)

    def _tell(
        self, run: Run, ending: Ending, result: TrainResult | None, reason: str, artifacts: Any
    ) -> None:
        value = self._ledger.tell(run, ending, result, reason=reason)
        checkpoint_path(self._folder, run.key).unlink(missing_ok=True)
        if result is not None and result.measures:
            self._mirror.metrics(
                run.key,
                step=result.epochs[-1].epoch,
                values=measure_metrics(result.measures),
                timestamp_ms=int(time.time() * 1000),
            )
        self._mirror.finish(
            run.key,
            status=STATUS[ending],
            tags=end_tags(ending, reason),
            artifacts=artifacts,
        )
        self._watch(RunEnded(run, ending, value, reason))

    def _pause(self, run: Run) -> None:
        self._ledger.pause(run)
        self._mirror.finish(run.key, status="SCHEDULED", tags=end_tags(None, ""), artifacts={})
        self._watch(RunEnded(run, None, None, ""))

    def _failed(self, worker: int, event: JobFailed) -> None:
        self._executor.release(worker)
        if event.exit_code == WorkError.exit_code:  # the next run would meet it too
            raise WorkError(event.message)
        run = self._active.pop(worker)
        if event.exit_code is None:
            self._faults += 1
            log_fault(event, self._folder)
        self._tell(run, "failed", None, event.message, {})
        if self._faults >= MAX_FAULTS:
            raise WorkError(
                f"{MAX_FAULTS} runs in a row failed, the last with: {event.message} — the traces "
                f"are in {self._folder / 'faults.log'}"
            )

    def _died(self, worker: int, event: WorkerDied) -> None:
        run = self._active.pop(worker, None)
        if run is None:
            return
        self._deaths[event.key] += 1
        text = f"worker {worker} died (exit code {event.exit_code}) in {event.key}"
        if self._deaths[event.key] >= MAX_DEATHS:
            reason = f"{text}, {MAX_DEATHS} times; is there enough memory?"
            self._tell(run, "failed", None, reason, {})
            return
        self._watch(Remark(f"{text}; another worker goes on from the last checkpoint"))
        if self._interrupts.stopping:
            self._pause(run)
        else:
            self._start(worker, run)

    def _after_events(self) -> None:
        for text in self._mirror.take_notices():
            self._watch(Remark(text))
        self._watch(Tick())
        if self._interrupts.stopping and not self._told_of_stop:
            self._told_of_stop = True
            self._watch(Remark("stopping after the running epochs; once more leaves at once"))
        if self._interrupts.at_once:
            raise Interrupted("left at once; run again to carry on from the last checkpoints")

    def _put_back(self) -> None:
        """Leave no run RUNNING, whatever ends the loop."""
        self._executor.shutdown(now=True)
        runs = list(self._active.values())
        self._active.clear()
        for run in runs:
            # What ends the loop is what the user must read. If it was a full disk, this fails as
            # well, and the next run finds the trial and puts it back.
            with suppress(Exception):
                self._pause(run)

    def _evaluation(self, run: Run, result: TrainResult) -> dict[str, Any]:
        if not result.confusion or self._setting is None:
            return {}
        names = self._setting.data.class_names
        return keep_evaluation(self._folder, run.key, names, result.confusion)
