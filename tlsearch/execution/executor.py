"""Where jobs run: the protocol that the coordinator drives, and its local form, processes."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

from tlsearch.execution import worker
from tlsearch.execution.messages import Decision, EpochDone, Event, Job, Setting, WorkerDied

JOIN_SECONDS = 5.0
"""How long an idle worker may take to leave before it is ended."""
_FORKS = sys.platform == "linux"
"""Whether processes are forked: not on Windows, and on macOS not safely once threads have run."""
_IMPORTED = ("tlsearch.execution.workbench", "timm", "sklearn.linear_model")
"""What each process that trains would import by itself, some seconds' work."""
_SERVER_LOST = 255
"""Exit code of a process whose fork server was killed, as `multiprocessing` reports it."""


class Executor(Protocol):
    """Runs jobs on numbered workers, at most one job each."""

    def idle(self) -> Sequence[int]:
        """Workers that can take a job."""
        ...

    def configure(self, setting: Setting) -> None:
        """Give every worker, also those started later, what the trainings share."""
        ...

    def submit(self, worker: int, job: Job) -> None:
        """Start `job` on an idle worker."""
        ...

    def answer(self, worker: int, decision: Decision) -> None:
        """Answer an `EpochDone`."""
        ...

    def release(self, worker: int) -> None:
        """Mark a worker as idle again after its job's last event."""
        ...

    def events(self, *, timeout: float) -> list[tuple[int, Event]]:
        """What workers have said, waiting up to `timeout` seconds for the first."""
        ...

    def shutdown(self, *, now: bool) -> None:
        """End all workers; `now` kills them in mid-epoch."""
        ...


@dataclass
class _Worker:
    process: BaseProcess
    pipe: "Connection[Any, Any]"
    job: Job | None = None
    waits: bool = False


class LocalExecutor:
    """Worker processes on this machine, one thread each.

    A worker that dies is replaced, and its job comes back in a `WorkerDied`.
    """

    def __init__(self, *, num_workers: int, num_devices: int) -> None:
        self._num_devices = num_devices
        self._setting: Setting | None = None
        self._workers = [self._start(i) for i in range(num_workers)]

    def idle(self) -> list[int]:
        """Workers without a job."""
        return [i for i, w in enumerate(self._workers) if w.job is None]

    def configure(self, setting: Setting) -> None:
        """Tell all workers, and remember it for those that replace a dead one."""
        self._setting = setting
        for index in range(len(self._workers)):
            self._send(index, setting)

    def submit(self, worker: int, job: Job) -> None:
        """Send the job."""
        self._workers[worker].job = job
        self._send(worker, job)

    def answer(self, worker: int, decision: Decision) -> None:
        """Send the decision to a worker that waits for one."""
        # One that died after its epoch has been replaced by one that waits for nothing.
        if self._workers[worker].waits:
            self._workers[worker].waits = False
            self._send(worker, decision)

    def release(self, worker: int) -> None:
        """Forget the worker's job."""
        self._workers[worker].job = None

    def events(self, *, timeout: float) -> list[tuple[int, Event]]:
        """What was said since, and who died."""
        owners: dict[Any, int] = {}
        for i, w in enumerate(self._workers):
            owners[w.pipe] = owners[w.process.sentinel] = i
        ready = connection.wait(list(owners), timeout)
        found: list[tuple[int, Event]] = []
        for index in sorted({owners[r] for r in ready}):
            found.extend((index, event) for event in self._hear(index))
        return found

    def shutdown(self, *, now: bool) -> None:
        """Ask all to leave, or kill them; a second time does nothing."""
        for index, w in enumerate(self._workers):
            if now:
                w.process.kill()
            else:
                self._send(index, None)
        for w in self._workers:
            w.process.join(JOIN_SECONDS)
            if w.process.is_alive():
                w.process.kill()
                w.process.join()
            w.pipe.close()
        self._workers = []

    def _start(self, index: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        device = index % self._num_devices if self._num_devices else None
        process = start_process(worker.main, theirs, device, name=f"tlsearch-worker-{index}")
        theirs.close()
        return _Worker(process=process, pipe=ours)

    def _send(self, index: int, message: Any) -> None:
        try:
            self._workers[index].pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            return  # it died; `events` finds its sentinel and reports the job

    def _hear(self, index: int) -> Iterator[Event]:
        """All that a worker has said; if it is gone, a new one takes its place."""
        w = self._workers[index]
        try:
            while w.pipe.poll():
                event: Event = w.pipe.recv()
                w.waits = isinstance(event, EpochDone)
                yield event
        except (EOFError, OSError):  # the latter where it died in mid-sentence
            w.process.join(JOIN_SECONDS)
        if w.process.is_alive():
            return
        if w.process.exitcode == _SERVER_LOST and w.process.pid is not None:
            with suppress(ProcessLookupError):  # it may live, and would train beside the next one
                os.kill(w.process.pid, signal.SIGKILL)
        key = w.job.key if w.job else ""
        w.pipe.close()
        self._workers[index] = self._start(index)
        if self._setting is not None:
            self._send(index, self._setting)
        yield WorkerDied(w.process.exitcode, key)


def start_process(
    target: Callable[..., None], *args: object, name: str, daemon: bool = False
) -> BaseProcess:
    """A process that runs `target(*args)` with one thread, this process's environment, and torch
    imported where processes are forked; `target` begins with `worker.ignore_interrupts`.
    """
    start_server()
    with _one_thread_each():
        given = (dict(os.environ), target, *args)  # the server's environment is that of its start
        if _FORKS:
            # A server that cannot live: the process itself then says why, in its job.
            with suppress(EOFError, OSError):
                return _started("forkserver", given, name=name, daemon=daemon)
        return _started("spawn", given, name=name, daemon=daemon)


def start_server() -> None:
    """Start the process that others are forked from, unless it is there, and do not wait for it: it
    imports what trains once for all of them.

    It has a single thread and no GPU, so that it may be forked, hears no signal that asks a study
    to leave, and ends with this process and those that were forked.
    """
    if not _FORKS:
        return
    from multiprocessing import forkserver

    forkserver.set_forkserver_preload(list(_IMPORTED))
    with _one_thread_each(), worker.undisturbed(), suppress(EOFError, OSError):
        forkserver.ensure_running()


def _started(method: str, given: tuple[object, ...], *, name: str, daemon: bool) -> BaseProcess:
    context: Any = multiprocessing.get_context(method)
    process: BaseProcess = context.Process(target=_begin, args=given, name=name, daemon=daemon)
    with worker.undisturbed():
        process.start()
    return process


def _begin(environment: dict[str, str], target: Callable[..., None], *args: object) -> None:
    os.environ.clear()
    os.environ.update(environment)
    sys.stdout = sys.stderr  # stdout is the command's result, and a user's own network may print
    target(*args)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Two busy processes with two threads each are many times slower than with one each."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
