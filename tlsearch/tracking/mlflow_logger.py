"""Shows a study in MLflow while it runs. Optuna holds the truth; what is lost here is rebuilt."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tlsearch.errors import TlsearchError, WorkError, hidden
from tlsearch.tracking.address import absolute_address
from tlsearch.tracking.reconcile import (
    PARENT,
    DatasetFacts,
    EpochMetrics,
    MirrorRow,
    Status,
    Wanted,
    wanted_from,
)
from tlsearch.tracking.session import OutageError, Session

_MAX_PAUSE = 30.0  # seconds between two attempts to reach a store that is gone
_WAITED_FOR_PAUSE = 1.0  # the same while a caller waits
_HURRY = 1.0  # how long a caller waits that gives up


class Mirror:
    """One experiment a study, one parent run in it, one child a trial.

    Every method returns at once; a thread of its own imports MLflow and writes what has gathered,
    at most every `flush_seconds`. A store that goes away does not stop a study: what is wanted is
    kept and tried again, with one notice after `patience_seconds` and one when it is back;
    whatever is still unwritten at the end, the next run's `reconcile` writes.

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
    ) -> None:
        """`artifact_root` serves a local SQLite store; a server has a place of its own."""
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
        self._orders: list[Callable[[], None]] = []
        self._gives_up: Callable[[], bool] = lambda: False
        self._requested = self._answered = self._attempts = 0
        self._ended = self._lost = False
        self._failing_since: float | None = None
        self._last_turn, self._pause = 0.0, flush_seconds
        self._error: BaseException | None = None
        self._notices: deque[str] = deque()
        self._thread = threading.Thread(target=self._run, name="mlflow-mirror", daemon=True)

    def give_up_when(self, condition: Callable[[], bool]) -> None:
        """Where `condition` holds, `flush` and `close` wait a second at the most."""
        self._gives_up = condition

    def open_parent(
        self,
        *,
        run_name: str,
        tags: Mapping[str, Any],
        params: Mapping[str, Any],
        texts: Mapping[str, Any],
        datasets: Sequence[DatasetFacts],
        began_ms: int | None = None,
    ) -> None:
        """Start mirroring: the study's parent run is created, or re-opened where it exists.

        A param that has changed since (a larger budget) becomes a tag `tlsearch.changed.NAME`.
        `began_ms` is when the study's first run began, if one has: an invocation that was killed
        before MLflow was there leaves runs behind that are older than this moment.
        """
        parent = Wanted(PARENT, run_name, began_ms or _now_ms(), status="RUNNING")
        parent.add_params(params)
        parent.add_tags(tags)
        parent.add_artifacts(texts)
        self._order(lambda: self._session.open(parent, datasets))
        self._thread.start()

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Give the study's experiment tags, which MLflow's pages read."""
        self._order(lambda: self._session.tag_experiment(tags))

    def reconcile(self, rows: Sequence[MirrorRow]) -> None:
        """Make MLflow agree one to one with `rows`: children made, completed, or deleted.

        Children started by this mirror stay, whether `rows` name them or not.
        """
        truth = {row.key: wanted_from(row) for row in rows}
        self._order(lambda: self._session.reconcile(truth))

    def abandon(self, study_key: str) -> None:
        """End as KILLED what a beginning of this study that was set aside left open."""
        self._order(lambda: self._session.abandon(study_key))

    def start(
        self, key: str, *, run_name: str, params: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> None:
        """Show a trial as running; the child of the same key is continued where there is one."""
        child = Wanted(key, run_name, _now_ms(), status="RUNNING")
        child.add_params(params)
        child.add_tags(tags)
        self._want(child)

    def metrics(
        self, key: str, *, step: int, values: Mapping[str, float], timestamp_ms: int
    ) -> None:
        """Add one epoch; steps ascend, and a step that MLflow has already is not added again."""
        wanted = Wanted(key)
        wanted.add_metrics(EpochMetrics(step, timestamp_ms, values))
        self._want(wanted)

    def finish(
        self, key: str, *, status: Status, tags: Mapping[str, Any], artifacts: Mapping[str, Any]
    ) -> None:
        """End a trial's child; SCHEDULED for one that a later run continues."""
        wanted = Wanted(key, status=status, end_ms=_now_ms())
        wanted.add_tags(tags)
        wanted.add_artifacts(artifacts)
        self._want(wanted)

    def annotate(self, key: str, *, tags: Mapping[str, Any], artifacts: Mapping[str, Any]) -> None:
        """Add tags and files to a child, or to the parent (key `PARENT`), whatever its status."""
        wanted = Wanted(key)
        wanted.add_tags(tags)
        wanted.add_artifacts(artifacts)
        self._want(wanted)

    def flush(self) -> bool:
        """Wait until all is written; False if the store is gone."""
        with self._changed:
            self._raise_error()
            return self._settled()

    def close(self, *, status: Status, tags: Mapping[str, Any]) -> bool:
        """End the parent and the thread; False if something is left for the next run."""
        if not self._thread.is_alive() and not self._ended:
            return True  # never opened
        parent = Wanted(PARENT, status=status, end_ms=_now_ms())
        parent.add_tags(tags)
        self._want(parent)
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

    def _order(self, order: Callable[[], None]) -> None:
        with self._changed:
            self._raise_error()
            self._orders.append(order)
            self._changed.notify_all()

    def _want(self, wanted: Wanted) -> None:
        with self._changed:
            self._raise_error()
            if self._ended:
                return
            if wanted.key in self._wanted:
                self._wanted[wanted.key].add(wanted)
            else:
                self._wanted[wanted.key] = wanted
                self._changed.notify_all()

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
            orders, self._orders = self._orders, []
            batch, self._wanted = self._wanted, {}
            requested = self._requested
        failure: OutageError | None = None
        try:
            while orders:
                orders[0]()
                orders.pop(0)
            self._session.write(batch)
        except OutageError as error:
            failure = error
        with self._changed:
            self._orders = orders + self._orders
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
            elif self._orders or waited_for:
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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
