"""The scheduler: gives runs and jobs to workers, and passes on what they say.

One loop in one thread. It knows neither Optuna nor MLflow: `Work` gives the runs out and keeps what
becomes of them. A worker that dies is replaced at once, and its run goes on from its checkpoint.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from tlsearch.config.paths import checkpoint_path
from tlsearch.errors import RequestError, TlsearchError, WorkError
from tlsearch.execution.executor import Executor
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import (
    Decision,
    EpochDone,
    Event,
    HeadsJob,
    Job,
    JobDone,
    JobFailed,
    OutOfMemory,
    Preparing,
    Remark,
    Setting,
    Tick,
    TrainDone,
    TrainJob,
    Watcher,
    WorkerDied,
)
from tlsearch.execution.runs import Ending, Run
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

POLL_SECONDS = 0.5
MAX_DEATHS = 3
"""A job whose worker dies this often is given up: it is probably what kills it. A worker that dies
this often in a row while it is idle ends the study: its place starts no worker that lives.
"""
MAX_FAULTS = 3
"""So many runs in a row that fail by a fault of the program end the study: more would fail too."""


Given = tuple[Run, TrainJob]


class Work(Protocol):
    """Whom the scheduler works for: gives runs out and keeps what becomes of them, in Optuna,
    MLflow and on the screen. Everything is on disk in Optuna when a method returns.
    """

    def next_runs(self) -> Sequence[Given]:
        """The next run, claimed, and its job, or several that go into one `HeadsJob`; none while
        there is none to begin. It may be called again once another run has ended.
        """
        ...

    def started(self, run: Run) -> None:
        """A worker is at the run, at its beginning or from its checkpoint."""
        ...

    def epoch(self, run: Run, result: EpochResult, fold: FoldResult | None) -> Decision:
        """Record an epoch, and the fold that ended with it; what the run is to do.
        Epochs may come again after a worker died: they are recorded once.
        """
        ...

    def ended(self, run: Run, ending: Ending, result: TrainResult | None, reason: str) -> None:
        """Record how a run ended; `result` is None of one that failed."""
        ...

    def paused(self, run: Run, result: TrainResult | None) -> None:
        """Put a run back in the queue, or let it pause as it was told to, with what it came to: it
        goes on from its checkpoint.
        """
        ...


class Scheduler:
    """Drives the workers of one executor until there is no work, the user leaves, or the work
    cannot go on.
    """

    def __init__(
        self, *, executor: Executor, watch: Watcher, interrupts: Interrupts, folder: Path
    ) -> None:
        self._executor, self._watch, self._interrupts = executor, watch, interrupts
        self._folder = folder
        self._active: dict[int, dict[str, Given]] = {}  # by worker: what its job has not ended
        self._again: list[Given] = []  # to be given out anew, each by itself
        self._deaths: Counter[str] = Counter()
        self._idle_deaths: Counter[int] = Counter()
        self._faults = 0
        self._said_stopping = False

    def configure(self, setting: Setting) -> None:
        """Give all workers what the trainings share."""
        self._executor.configure(setting)

    def run_job(self, job: Job) -> Any:
        """`run_jobs` of a single one."""
        (answer,) = self.run_jobs([job])
        return answer

    def run_jobs(self, jobs: Sequence[Job]) -> list[Any]:
        """Have idle workers do jobs that are no runs of a study, and return their answers in order.

        Raises:
            RequestError: the study asks for what cannot be, in the worker's words.
            WorkError: one failed, or its workers died again and again.
            Interrupted: the user asked to leave; such a job leaves nothing half-written.
        """
        to_do, under_way = list(range(len(jobs))), dict[int, int]()
        answers, deaths = dict[int, Event](), Counter[int]()

        def handle(worker: int, event: Event) -> None:
            if isinstance(event, EpochDone):
                self._executor.answer(worker, "continue")
                return
            index = under_way.pop(worker, None)
            if index is None:
                return  # of a worker that had answered before it died
            if isinstance(event, WorkerDied):
                deaths[index] += 1
                if deaths[index] >= MAX_DEATHS:
                    raise WorkError(
                        f"the worker died {MAX_DEATHS} times (exit code {event.exit_code}) while it"
                        f" did {jobs[index].key}; is there enough memory?"
                    )
                to_do.append(index)
            else:
                self._executor.release(worker)
                answers[index] = event

        while len(answers) < len(jobs):
            for worker in self._executor.idle()[: len(to_do)]:
                under_way[worker] = to_do.pop(0)
                self._executor.submit(worker, jobs[under_way[worker]])
            self._turn(handle)
            if self._interrupts.stopping:
                self._executor.shutdown(now=True)
                raise Interrupted("stopped as asked; run again to carry on")
        found = [answers[index] for index in range(len(jobs))]
        for answer in found:
            if isinstance(answer, JobFailed | OutOfMemory):
                raise self._error_of(answer)
        return [answer.answer if isinstance(answer, JobDone) else None for answer in found]

    def run(self, work: Work) -> None:
        """Carry out the runs of `work` until it gives none and none is under way.

        Raises:
            Interrupted: the user asked to leave; what was under way is saved and will go on.
            WorkError: the work cannot go on: a full disk, or the same fault again and again.
        """
        try:
            while True:
                self._dispatch(work)
                if not self._active and not self._again:
                    break
                self._turn(partial(self._handle, work))
                if self._interrupts.stopping and not self._said_stopping:
                    self._said_stopping = True
                    self._watch(Remark("stopping after the running epochs; once more stops now"))
                if self._interrupts.at_once:
                    raise Interrupted("stopped at once; run again to carry on from the checkpoints")
        except BaseException:
            self._put_back(work)
            raise
        if self._interrupts.stopping:
            raise Interrupted("stopped as asked; everything is kept, run again to carry on")

    def _turn(self, handle: Callable[[int, Event], None]) -> None:
        """Hand on what workers say, but for the progress of jobs and deaths of idle workers."""
        for worker, event in self._executor.events(timeout=POLL_SECONDS):
            if isinstance(event, WorkerDied) and not event.key:
                self._idle_deaths[worker] += 1
                if self._idle_deaths[worker] >= MAX_DEATHS:
                    raise WorkError(
                        f"worker {worker} died {MAX_DEATHS} times in a row while it was idle (exit "
                        f"code {event.exit_code}): it cannot start — is there enough memory, or "
                        "does something end its processes? Run again to carry on"
                    )
                continue
            self._idle_deaths.pop(worker, None)
            if isinstance(event, Preparing):
                self._watch(event)
            else:
                handle(worker, event)
        self._watch(Tick())

    def _dispatch(self, work: Work) -> None:
        for worker in self._executor.idle():
            if self._interrupts.stopping:
                break
            given = [self._again.pop(0)] if self._again else work.next_runs()
            if not given:
                break
            self._active[worker] = {run.key: (run, job) for run, job in given}
            jobs = tuple(job for _, job in given)
            self._executor.submit(worker, jobs[0] if len(jobs) == 1 else HeadsJob(jobs=jobs))
            work.started(given[0][0])
        while self._interrupts.stopping and self._again:
            work.paused(self._again.pop()[0], None)

    def _handle(self, work: Work, worker: int, event: Event) -> None:
        given = self._active.get(worker)
        if given is None:
            return  # of a worker that has been replaced
        if isinstance(event, WorkerDied):
            del self._active[worker]
            self._died(work, worker, event, list(given.values()))
        elif isinstance(event, EpochDone):
            if event.key in given:
                self._epoch(work, worker, given[event.key][0], event)
        elif not isinstance(event, TrainDone | OutOfMemory | JobFailed):
            raise AssertionError(f"unexpected {event!r}")
        elif isinstance(event, JobFailed) and event.exit_code == WorkError.exit_code:
            raise WorkError(event.message)  # the next run would meet it too
        elif event.key in given:
            run, _ = given.pop(event.key)
            if not given:
                self._release(worker)
            self._ended(work, run, event)
            if given:
                work.started(next(iter(given.values()))[0])
        else:
            self._release(worker)
            self._take_apart(list(given.values()), event)

    def _epoch(self, work: Work, worker: int, run: Run, event: EpochDone) -> None:
        decision = work.epoch(run, event.result, event.fold)
        if decision == "continue" and self._interrupts.stopping:
            decision = "pause"
        self._executor.answer(worker, decision)

    def _ended(self, work: Work, run: Run, event: TrainDone | OutOfMemory | JobFailed) -> None:
        match event:
            case TrainDone():
                if event.ending == "paused":
                    work.paused(run, event.result)
                    return
                self._faults = 0
                ending: Ending = "pruned" if event.ending == "stopped" else event.ending
                self._end(work, run, ending, event.result, event.result.reason)
            case OutOfMemory():
                # What the sampler drew does not fit here: it is to try less. What repeats a trial
                # on a redraw, or is fixed, has simply failed.
                is_sampled = run.trial is not None and not run.redraw
                self._end(work, run, "pruned" if is_sampled else "failed", None, event.message)
            case JobFailed():
                if event.exit_code is None:
                    _log_fault(event, self._folder)
                self._end(work, run, "failed", None, event.message)
                if event.exit_code is None:
                    self._count_fault(event.message)

    def _take_apart(self, given: Sequence[Given], event: Event) -> None:
        """Give out each run of a stack by itself: what became of all may be the fault of one."""
        if isinstance(event, JobFailed) and event.exit_code is None:
            _log_fault(event, self._folder)
        reason = event.message if isinstance(event, JobFailed | OutOfMemory) else "its worker died"
        self._watch(Remark(f"{len(given)} heads trained at once: {reason}; now one by one"))
        self._again += given

    def _release(self, worker: int) -> None:
        self._executor.release(worker)
        del self._active[worker]

    def _end(
        self, work: Work, run: Run, ending: Ending, result: TrainResult | None, reason: str
    ) -> None:
        work.ended(run, ending, result, reason)
        checkpoint_path(self._folder, run.key).unlink(missing_ok=True)

    def _died(self, work: Work, worker: int, event: WorkerDied, given: Sequence[Given]) -> None:
        self._deaths.update(run.key for run, _ in given)
        if len(given) > 1:
            self._take_apart(given, event)
            return
        ((run, job),) = given
        text = f"worker {worker} died (exit code {event.exit_code}) in {run.key}"
        if self._deaths[run.key] >= MAX_DEATHS:
            reason = f"{text}, {MAX_DEATHS} times; is there enough memory?"
            self._end(work, run, "failed", None, reason)
            self._count_fault(reason)
            return
        self._watch(Remark(f"{text}; another worker goes on from the last checkpoint"))
        self._again.append((run, job))

    def _count_fault(self, message: str) -> None:
        self._faults += 1
        if self._faults >= MAX_FAULTS:
            raise WorkError(
                f"{MAX_FAULTS} runs in a row failed, the last with: {message} — traces, if there "
                f"are any, are in {self._folder / 'faults.log'}"
            )

    def _put_back(self, work: Work) -> None:
        """Leave no run RUNNING, whatever ends the loop."""
        self._executor.shutdown(now=True)
        left = [*self._again, *(one for given in self._active.values() for one in given.values())]
        self._active.clear()
        self._again.clear()
        for run, _ in left:
            # What ends the loop is what the user must read. If it was a full disk, this fails as
            # well, and the next invocation finds the run and puts it back.
            with suppress(Exception):
                work.paused(run, None)

    def _error_of(self, event: JobFailed | OutOfMemory) -> TlsearchError:
        if isinstance(event, OutOfMemory):
            return WorkError(event.message)
        if event.exit_code is None:
            log = _log_fault(event, self._folder)
            return WorkError(f"{event.message} — the trace is in {log}")
        kind = RequestError if event.exit_code == RequestError.exit_code else WorkError
        return kind(event.message)


def _log_fault(event: JobFailed, folder: Path) -> Path:
    """Keep the trace of a fault of the program for a bug report; where it was kept."""
    path = folder / "faults.log"
    with path.open("a") as log:
        log.write(f"{event.key}: {event.message}\n{event.details}\n")
    return path
