"""Shows a study in MLflow while it runs. Optuna holds the truth; what is lost here is rebuilt."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tlsearch.errors import TlsearchError, WorkError, hidden
from tlsearch.tracking.address import absolute_address
from tlsearch.tracking.reconcile import PARENT, DatasetFacts, Status, Wanted, wanted
from tlsearch.tracking.session import OutageError, Session

_MAX_PAUSE = 30.0  # seconds between two attempts to reach a store that is gone
_WAITED_FOR_PAUSE = 1.0  # the same while a caller waits
_HURRY = 1.0  # how long a caller waits that gives up


class Mirror:
    """One experiment a study, one parent run in it, one child a trial.

    Every method returns at once; a thread of its own imports MLflow and writes what has gathered,
    at most every `flush_seconds`. A store that goes away does not stop a study: what is wanted is
    kept and tried again, with one notice after `patience_seconds` and one when it is back;
    whatever is still unwritten at the end, the next run's `open` writes.

    Raises (from any method, once):
        RequestError: at construction: the address is none.
        WorkError: the store could not be opened, or writing met a defect of this program.
    """

    def __init__(
        self,
        *,
        tracking_uri: str,
        artifact_root: Path | None,
        experiment: str,
        study_key: str,
        flush_seconds: float,
        patience_seconds: float,
        gives_up: Callable[[], bool],
    ) -> None:
        """`artifact_root` serves a local SQLite store; a server has a place of its own. Where
        `gives_up` says so, `flush` and `close` wait a second at the most.
        """
        self.tracking_uri = absolute_address(tracking_uri)
        self._shown = hidden(self.tracking_uri)
        self._session = Session(
            tracking_uri=self.tracking_uri,
            artifact_root=artifact_root,
            experiment=experiment,
            study_key=study_key,
        )
        self._flush_seconds = flush_seconds
        self._patience_seconds = patience_seconds
        self._changed = threading.Condition()
        self._wanted: dict[str, Wanted] = {}
        self._opening: Callable[[], None] | None = None
        self._gives_up = gives_up
        self._requested = self._answered = self._attempts = 0
        self._ended = self._lost = False
        self._failing_since: float | None = None
        self._last_turn, self._pause = 0.0, flush_seconds
        self._error: BaseException | None = None
        self._notices: deque[str] = deque()
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)

    def open(
        self,
        parent: Wanted,
        *,
        children: Sequence[Wanted] | None,
        datasets: Sequence[DatasetFacts],
        experiment_tags: Mapping[str, str],
        abandoned: str | None,
    ) -> None:
        """Start mirroring: the study's parent run is created, or re-opened where it exists, and the
        runs below it agree one to one with `children` (None: stay as they are): made, completed, or
        deleted. The parent's `start_ms` is when the study's first run began, if one has: an
        invocation that was killed before MLflow was there leaves runs that are older than this one.

        `experiment_tags` are what MLflow's pages read; `abandoned` is the key of a beginning of
        this study that was set aside: what it left open ends as KILLED.
        """
        parent.status, parent.start_ms = "RUNNING", parent.start_ms or now_ms()
        with self._changed:
            self._opening = partial(
                self._session.open, parent, datasets, children, experiment_tags, abandoned
            )
        self._thread.start()

    def show(self, wanted: Wanted) -> None:
        """Show this of a run, which is made where there is none; a trial's steps ascend, and one
        that MLflow has already is not added again. A param that has changed since (a larger budget)
        becomes a tag `tlsearch.changed.NAME`. SCHEDULED is the status of a run that a later
        invocation continues.
        """
        with self._changed:
            self._raise_error()
            if self._ended:
                return
            if wanted.key in self._wanted:
                self._wanted[wanted.key].add(wanted)
            else:
                self._wanted[wanted.key] = wanted
                self._changed.notify_all()

    def flush(self) -> bool:
        """Wait until all is written; False if the store is gone."""
        with self._changed:
            self._raise_error()
            return self._settled()

    def close(self, *, status: Status) -> bool:
        """End the parent with this status, and the thread; False if something is left for the next
        run.
        """
        if not self._thread.is_alive() and not self._ended:
            return True  # never opened
        tags = {"tlsearch.state": status.lower()}
        self.show(wanted(PARENT, status=status, tags=tags, end_ms=now_ms()))
        with self._changed:
            whole = self._settled()
            self._ended = True
            self._changed.notify_all()
        self._thread.join(timeout=0.0 if self._gives_up() else 1.0)
        if not whole:
            self._notices.append(
                f"MLflow at {self._shown}: not everything could be written. No trial is"
                " lost: running the study again completes MLflow"
            )
        return whole

    def take_notices(self) -> tuple[str, ...]:
        """What a user should read, each line given out once; never stops the work."""
        taken: list[str] = []
        for notices in (self._notices, self._session.notices):
            while notices:
                taken.append(notices.popleft())
        return tuple(taken)

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the experiment, None before the store is open."""
        return self._session.experiment_id

    def run_id(self, key: str) -> str | None:
        """MLflow's id of a child, of the parent for `PARENT`; None before it is written."""
        return self._session.run_id(key)

    def _raise_error(self) -> None:
        error, self._error = self._error, None
        if isinstance(error, TlsearchError):
            raise error
        if error is not None:
            raise WorkError(
                f"MLflow at {self._shown}: writing stopped ({type(error).__name__}: {error})"
                " — no trial is lost, and running the study again completes MLflow; please report"
                " this as a defect of tlsearch"
            ) from error

    def _settled(self) -> bool:
        """Ask for all to be written and wait; the lock is held."""
        self._requested += 1
        mine, attempts, since = self._requested, self._attempts, time.monotonic()
        self._changed.notify_all()
        while self._answered < mine and not self._ended:
            hurries = self._gives_up() and time.monotonic() - since > _HURRY
            if hurries or (self._lost and self._attempts > attempts):
                return False
            self._changed.wait(timeout=0.2)
        self._raise_error()
        return self._answered >= mine

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except BaseException as error:  # raised again in the caller, at its next call
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _turn(self) -> bool:
        """Wait for something to do, and do it; False at the end."""
        with self._changed:
            self._await_work()
            if self._ended:
                return False
            batch, self._wanted = self._wanted, {}
            requested = self._requested
        failure: OutageError | None = None
        try:
            if self._opening is not None:
                self._opening()
                self._opening = None
            self._session.write(batch)
        except OutageError as error:
            failure = error
        with self._changed:
            for key, later in self._wanted.items():
                batch.setdefault(key, Wanted(key)).add(later)
            self._wanted = batch  # what is not written yet, and what came meanwhile
            if failure is None:
                self._answered = requested
            self._judge(failure)
            self._changed.notify_all()
        return True

    def _await_work(self) -> None:
        """Wait for the next turn; the lock is held."""
        while not self._ended:
            waited_for = self._requested > self._answered
            due: float | None = None
            if self._failing_since is not None:
                pause = min(self._pause, _WAITED_FOR_PAUSE) if waited_for else self._pause
                due = self._last_turn + pause
            elif self._opening or waited_for:
                return
            elif self._wanted:
                due = self._last_turn + self._flush_seconds
            left = None if due is None else due - time.monotonic()
            if left is not None and left <= 0:
                return
            self._changed.wait(timeout=left)

    def _judge(self, failure: "OutageError | None") -> None:
        """Decide how long to pause, and whether the user must know; the lock is held."""
        now = time.monotonic()
        self._attempts += 1
        self._last_turn = now
        if failure is None:
            if self._lost:
                self._notices.append(f"MLflow at {self._shown} is back and up to date")
            self._failing_since, self._lost, self._pause = None, False, self._flush_seconds
            return
        self._failing_since = self._failing_since or now
        self._pause = min(2 * self._pause, _MAX_PAUSE)
        if not self._lost and now - self._failing_since >= self._patience_seconds:
            self._lost = True
            self._notices.append(
                f"MLflow at {self._shown} cannot be reached ({failure}). The study goes on,"
                " nothing is lost; what is missing there is written once it is back, or when the"
                " study is run again"
            )


def now_ms() -> int:
    """This moment as MLflow counts it, in milliseconds."""
    return time.time_ns() // 1_000_000
