"""One job that is no run: preparing a study, scoring the test part, making weights again."""

from pathlib import Path

from tlsearch.errors import RequestError, TlsearchError, WorkError
from tlsearch.search.executor import Executor
from tlsearch.search.interrupts import Interrupted, Interrupts
from tlsearch.search.jobs import EpochDone, Event, Job, JobFailed, Progress, WorkerDied
from tlsearch.search.watching import Preparing, Tick, Watcher

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
