"""A worker process: carries out one job after another, and imports neither optuna nor mlflow."""

import ctypes
import errno
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from multiprocessing import connection, parent_process, resource_tracker
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any

from tlsearch.config.paths import checkpoint_path
from tlsearch.errors import DivergenceError, TlsearchError, WorkError
from tlsearch.execution.interrupts import SIGNALS
from tlsearch.execution.messages import (
    Decision,
    EpochDone,
    Event,
    ExamplesJob,
    HeadsJob,
    Job,
    JobDone,
    JobFailed,
    NetworkJob,
    OutOfMemory,
    Prepared,
    PrepareJob,
    Preparing,
    ScoreJob,
    Setting,
    SharesJob,
    SurveyJob,
    TrainDone,
    TrainJob,
)

CHECKPOINT_SHARE = "TLSEARCH_CHECKPOINT_SHARE"
"""Environment variable: the share of the training time that checkpoints may take, in place of
`COST_SHARE`; `inf` keeps one after every epoch. For machines that are taken away without notice.
"""


def main(pipe: "Connection[Any, Any]", device_index: int | None) -> None:
    """Serve jobs from `pipe` until it gets None or the coordinator is gone."""
    ignore_interrupts()
    leave_with_parent()
    server = _Server(pipe, device_index)
    import_early()
    try:
        while (message := pipe.recv()) is not None:
            if isinstance(message, Setting):
                server.configure(message)
            else:
                server.serve(message)
                release_memory()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def import_early() -> None:
    """Import torch and what trains, some seconds' work, while another process reads the data."""
    with suppress(Exception):  # the first job fails by the same, and is heard
        import tlsearch.execution.workbench  # noqa: F401
    gc.freeze()  # half a million objects that stay, through which no collection need go


@contextmanager
def undisturbed() -> Iterator[None]:
    """Start a process in this block: until it gets to `ignore_interrupts`, signals wait; and it
    imports nothing of the program that starts it, which would run a script anew that does not ask
    for its name.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        with _signals_wait():
            yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _signals_wait() -> Iterator[None]:
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    resource_tracker.ensure_running()  # the first process brings it, and it lets signals through
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """Ctrl-C, a closed terminal and a service manager's SIGTERM reach the whole process group; only
    the coordinator answers them, and tells the others to save and leave.
    """
    for sign in SIGNALS:
        signal.signal(sign, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def leave_with_parent() -> None:
    """End this process at once when its parent dies, so that no orphan trains or writes on."""
    parent = parent_process()
    assert parent is not None, "a worker is started by a coordinator"

    def wait(sentinel: int) -> None:
        connection.wait([sentinel])
        os._exit(1)

    threading.Thread(target=wait, args=(parent.sentinel,), daemon=True).start()


class _Server:
    def __init__(self, pipe: "Connection[Any, Any]", device_index: int | None) -> None:
        self._pipe, self._device_index = pipe, device_index
        self._bench: Any = None
        self.setting: Setting | None = None

    def configure(self, setting: Setting) -> None:
        """Take what the trainings from now on share; what was kept for others is let go."""
        if setting != self.setting:
            self.setting, self._bench = setting, None
            release_memory()

    def serve(self, job: Job) -> None:
        """Do one job; whatever goes wrong is said, and the worker lives on."""
        match job:
            case TrainJob() | HeadsJob():
                events = self._trained(job)
            case _:
                events = iter([self._event_of(job.key, lambda: JobDone(self._do(job)))])
        for event in events:
            self._pipe.send(event)

    def _event_of(self, key: str, work: Callable[[], Event]) -> Event:
        try:
            event = work()
        except TlsearchError as error:
            event = JobFailed(key, str(error), error.exit_code, "")
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            event = _failure(key, error)
        if isinstance(event, OutOfMemory):  # here, where no traceback holds the training any more
            self._bench = None
        return event

    def _do(self, job: Job) -> Any:
        match job:
            case PrepareJob():
                return self._prepare(job)
            case ScoreJob():
                return self._workbench(job.backbone).score(job)
            case ExamplesJob():
                return self._workbench(job.run.backbone).keep_examples(job.run)
            case SurveyJob():
                return self._workbench("").survey(job)
            case NetworkJob():
                return self._workbench(job.backbone).score_network().as_json()
            case SharesJob():
                return self._workbench("").shares(job)
        raise AssertionError(f"{job!r} is a training")

    def _prepare(self, job: PrepareJob) -> Prepared:
        from tlsearch.execution.prepare import prepare

        self._progress(0.0, "reading the data")
        setting, audit = prepare(job, device_index=self._device_index, on_progress=self._progress)
        return Prepared(setting, audit)

    def _progress(self, share: float, text: str) -> None:
        self._pipe.send(Preparing(share, text))

    def _workbench(self, backbone: str) -> Any:
        """The bench of a network; that of another one is let go."""
        from tlsearch.execution.workbench import Workbench

        assert self.setting is not None, "a setting comes before the first training"
        if self._bench is None or self._bench[0] != backbone:
            self._bench = None
            setting = self.setting.of(backbone)
            bench = Workbench(setting, device_index=self._device_index, on_progress=self._progress)
            self._bench = backbone, bench
        return self._bench[1]

    def _trained(self, job: TrainJob | HeadsJob) -> Iterator[Event]:
        """How each training ended; all of them that can be are carried out before the first is
        told.
        """
        jobs = job.jobs if isinstance(job, HeadsJob) else (job,)
        heads: dict[str, Event] = {}

        def train_heads() -> Event:
            assert self.setting is not None, "a setting comes before the first training"
            if self.setting.heads_at_once(jobs[0]):
                heads.update(self._workbench(jobs[0].run.backbone).train_heads(jobs))
            return JobDone(None)

        together = self._event_of(job.key, train_heads)
        if not isinstance(together, JobDone):
            yield together
            return
        for one in jobs:
            yield self._event_of(one.key, partial(self._end_of, one, heads.get(one.key)))

    def _end_of(self, job: TrainJob, head: Event | None) -> Event:
        """How a training ended: one of the `head`, which is told epoch by epoch, or now."""
        if not isinstance(head, TrainDone):
            return head or self._train(job)
        for result in head.result.epochs:
            decision = self._ask(job.key, result, None)
            if decision == "stop":
                return TrainDone(job.key, "stopped", head.result.until(result.epoch))
            is_last = head.ending == "complete" and result is head.result.epochs[-1]
            if decision == "pause" and not is_last:  # it goes on from the start: that is quicker
                return TrainDone(job.key, "paused", head.result.until(result.epoch))
        return head

    def _train(self, job: TrainJob) -> Event:
        from tlsearch.training.checkpoint import COST_SHARE, Checkpointer

        bench = self._workbench(job.run.backbone)
        trainer = bench.trainer(job)
        release_memory()  # what building left behind would add to the peak of the training
        share = float(os.environ.get(CHECKPOINT_SHARE) or COST_SHARE)
        assert self.setting is not None, "there is a workbench"
        path = checkpoint_path(self.setting.folder, job.key)
        keeper = Checkpointer(path, cost_share=share)
        keeper.restore(trainer)
        try:
            decision: Decision = "continue"
            for result in list(trainer.history):
                decision = self._ask(job.key, result, trainer.fold_ended(result))
                if decision == "stop":
                    return _ended(job, "stopped", trainer)
            if decision == "pause" and not trainer.finished:  # it died when it had come to its rung
                return _ended(job, "paused", trainer)
            for result in trainer.epochs():
                match self._ask(job.key, result, trainer.fold_ended(result)):
                    case "stop":
                        return _ended(job, "stopped", trainer)
                    case _ if trainer.finished:  # it ends now, whatever was decided
                        pass
                    case "pause":
                        keeper.save(trainer)
                        return _ended(job, "paused", trainer)
                    case _:
                        keeper.after_epoch(trainer)
        except DivergenceError as error:
            ended = trainer.summary("diverged", reason=str(error), confusion=())
            return TrainDone(job.key, "diverged", ended)
        finished = trainer.finish()
        if job.keep_weights:
            bench.save_weights(trainer.backbone, job.key)
        if job.keep_scores:
            bench.score_one(trainer.backbone, job.key)
        if job.measures or job.future is not None:
            taken = bench.measure(job, trainer, finished)
            finished = replace(finished, measures=taken)
        return TrainDone(job.key, "complete", finished)

    def _ask(self, key: str, result: Any, fold: Any) -> Decision:
        self._pipe.send(EpochDone(key, result, fold))
        decision: Decision = self._pipe.recv()
        return decision


def _ended(job: TrainJob, ending: Any, trainer: Any) -> Event:
    summary = trainer.summary("complete", reason="", confusion=())
    return TrainDone(job.key, ending, summary)


def _failure(key: str, error: Exception) -> Event:
    """What is said of an error that is none of ours."""
    if _is_out_of_memory(error):
        why = str(error).partition("\n")[0][:300]
        return OutOfMemory(key, f"out of memory: {why}" if why else "out of memory")
    if isinstance(error, OSError):  # a full disk, a folder that may not be written
        place = error.filename or "the state or cache folder"
        text = (
            f"{place}: {error.strerror or error} — make it writable and leave some space, then "
            "run again; what is stored is kept"
        )
        return JobFailed(key, text, WorkError.exit_code, "")
    return JobFailed(key, f"{type(error).__name__}: {error}", None, traceback.format_exc())


def _is_out_of_memory(error: Exception) -> bool:
    """Whether the device, or this process, has no memory left for what was wanted."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # torch.OutOfMemoryError of a GPU; the CPU's allocator, cuBLAS and cuDNN have no class for it.
    words = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
    return isinstance(error, RuntimeError) and any(word in str(error) for word in words)


def release_memory() -> None:
    """Hand the pages that the C library keeps for later to the system, and those that torch keeps
    on a GPU to the driver: those of one training would otherwise add to the next one's.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        try:
            ctypes.CDLL("libc.so.6").malloc_trim(0)
        except (OSError, AttributeError):
            return  # another C library: it decides by itself
