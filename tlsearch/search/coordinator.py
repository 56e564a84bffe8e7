"""What an invocation works with: store, mirror, workers and screen, opened once, always closed.

The `Coordinator` is what the scheduler works for: it keeps what becomes of runs in Optuna, shows
it in MLflow and on the screen.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from errno import EACCES, EEXIST, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError

from tlsearch.config.paths import (
    Layout,
    checkpoint_path,
    size_of,
    sweep,
    user_cache,
    write_text,
)
from tlsearch.config.resolved import redacted, to_yaml
from tlsearch.config.runtime import planned_workers, visible_gpus
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import RequestError, WorkError, hidden
from tlsearch.execution.executor import Executor, LocalExecutor
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import (
    Decision,
    EpochSeen,
    Notice,
    Prepared,
    PrepareJob,
    Remark,
    RunEnded,
    RunStarted,
    Setting,
    Tick,
    Watcher,
)
from tlsearch.execution.runs import OPEN, Ending, Run, RunRow
from tlsearch.execution.scheduler import Given, Scheduler
from tlsearch.search.jobs import train_job
from tlsearch.search.mirroring import epoch_metrics, keep_evaluation, mirror_row
from tlsearch.search.storage import open_storage, set_aside, study_lock
from tlsearch.search.store import MIRRORED, MLFLOW, Store
from tlsearch.tracking.address import absolute_address, artifact_folder, sqlite_path
from tlsearch.tracking.mlflow_logger import Mirror, now_ms
from tlsearch.tracking.reconcile import PARENT, EpochMetrics, wanted
from tlsearch.tracking.store import refuse_unusable, settle_in
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

FLUSH_SECONDS = 2.0
PATIENCE_SECONDS = 10.0
SOURCE_THREADS = 1
"""Threads that train the source model. Two give 1.7 times the speed on two idle cores and a tenth
of it on busy ones, and the weights would depend on the number of cores.
"""

NextRun = Callable[[], Run | None]
Beside = Callable[[Run, Callable[[Run], int]], Run | None]
"""Another run of the kind of a first one for which a function is not 0, claimed; None where none is
known before that one has ended."""


@dataclass(kw_only=True)
class Coordinator:
    """Everything that a study's order of work is carried out with: what prepares has a process and
    a scheduler of its own.
    """

    store: Store
    layout: Layout
    folder: Path
    mirror: Mirror
    workers: Executor
    preparer: Executor
    interrupts: Interrupts
    watch: Watcher
    num_workers: int
    _setting: Setting | None = None
    _next_run: NextRun = lambda: None
    _beside: Beside = lambda _run, _fits: None
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.scheduler = self._scheduler_of(self.workers)
        self.preparing = self._scheduler_of(self.preparer)

    def _scheduler_of(self, executor: Executor) -> Scheduler:
        return Scheduler(
            executor=executor, watch=self._note, interrupts=self.interrupts, folder=self.folder
        )

    def prepare(self, config: StudyConfig) -> Prepared:
        """Read data and weights of a study in the process that prepares."""
        prepared: Prepared = self.preparing.run_job(
            PrepareJob(
                config=config,
                folder=self.folder,
                cache=self.layout.cache,
                user_cache=user_cache(),
                threads=SOURCE_THREADS,
            )
        )
        return prepared

    def configure(self, setting: Setting) -> None:
        """Give all workers what the trainings share."""
        self._setting = setting
        self.scheduler.configure(setting)

    def carry_out(self, next_run: NextRun, beside: Beside = lambda _run, _fits: None) -> None:
        """Run what `next_run` gives until it gives None and nothing is under way; a training of the
        head alone together with what `beside` gives.

        Raises:
            Interrupted: the user asked to leave; what was under way is saved and will go on.
            WorkError: the work cannot go on: a full disk, or the same fault again and again.
        """
        self._next_run, self._beside = next_run, beside
        try:
            self.scheduler.run(self)
        except BaseException:
            with suppress(Exception):  # what ended it is what the user must read
                self.store.recover()  # trials that pause at a rung, or were about to begin
            raise

    def next_runs(self) -> list[Given]:
        """The next run, claimed, and its job, with all that are trained at once with it."""
        run = self._next_run()
        if run is None:
            return []
        runs, most = [run], self._heads_at_once(run)
        while len(runs) < most and (more := self._beside(run, self._heads_at_once)) is not None:
            runs.append(more)
        return [(one, train_job(self.store.config, one)) for one in runs]

    def _heads_at_once(self, run: Run) -> int:
        assert self._setting is not None, "a run has a setting"
        return self._setting.heads_at_once(train_job(self.store.config, run))

    def started(self, run: Run) -> None:
        """Show it in MLflow and on the screen."""
        self._mirror(self.store.row(run))
        self.watch(RunStarted(run))

    def epoch(self, run: Run, result: EpochResult, fold: FoldResult | None) -> Decision:
        """Record an epoch, and the fold that ended with it; what the run is to do."""
        is_new = (run.key, result.epoch) not in self._seen
        self._seen.add((run.key, result.epoch))
        prune = self.store.report(run, result, fold=fold)
        metrics = EpochMetrics(result.epoch, now_ms(), epoch_metrics(result, fold))
        self.mirror.show(wanted(run.key, metrics=[metrics]))
        if is_new:
            self.watch(EpochSeen(run, result))
        if prune:
            return "stop"
        steps = result.epoch if len(run.folds) == 1 else fold.fold if fold is not None else 0
        return "pause" if self.store.is_due(run, steps) else "continue"

    def ended(self, run: Run, ending: Ending, result: TrainResult | None, reason: str) -> None:
        """Record how a run ended."""
        if result is not None and result.confusion and self._setting is not None:
            names = self._setting.data.class_names  # before the store: what it has is whole
            keep_evaluation(self.folder, run.key, names, result.confusion)
        row = self.store.tell(run, ending, result, reason=reason)
        self._mirror(row)
        self.watch(RunEnded(run, ending, row.value, reason))

    def paused(self, run: Run, result: TrainResult | None) -> None:
        """Put a run back in the queue, or let it pause at its rung: it goes on from its
        checkpoint.
        """
        row = self.store.pause(run, result)
        self._mirror(row)
        reason = ""
        if row.state == "paused" and result is not None:
            reason = f"paused after epoch {len(result.epochs)} of {run.total_epochs}"
        self.watch(RunEnded(run, None, None, reason))

    def give_up(self, run: Run) -> None:
        """End a run that pauses and will not go on."""
        self.ended(run, "pruned", None, "fell behind where it paused")
        checkpoint_path(self.folder, run.key).unlink(missing_ok=True)

    def _mirror(self, row: RunRow) -> None:
        assert self._setting is not None, "a run has a setting"
        groups = self._setting.of(row.run.backbone).groups
        self.mirror.show(mirror_row(row, groups, folder=self.folder, table=self.store.table))

    def _note(self, notice: Notice) -> None:
        if isinstance(notice, Tick):
            for text in self.mirror.take_notices():
                self.watch(Remark(text))
        self.watch(notice)


@contextmanager
def occupied(
    config: StudyConfig, layout: Layout, *, interrupts: Interrupts
) -> Iterator[optuna.storages.BaseStorage]:
    """Hold a study for this process, its folder made.

    Raises:
        StoreError: another process runs it.
        RequestError: the state folder cannot be used.
        WorkError: a disk or a store failed.
    """
    folder = layout.study(config.name)
    with disk_errors(layout), interrupts.listening():
        layout.create()
        folder.mkdir(parents=True, exist_ok=True)
        with study_lock(folder, config.name):
            storage = open_storage(config, layout, create=True)
            assert storage is not None
            yield storage


def start_over(
    config: StudyConfig, layout: Layout, storage: optuna.storages.BaseStorage
) -> str | None:
    """Set the study of this name aside, if there is one; what is then said of it.

    Raises:
        WorkError: MLflow would not take a new one: it is not there, or the experiment was deleted.
    """
    refuse_unusable(absolute_address(tracking_address(config, layout)), config.name)
    folder = layout.study(config.name)
    before = size_of(folder)
    name = set_aside(config.name, storage=storage, folder=folder)
    if name is None:
        return None
    freed = (before - size_of(folder)) / 10**6
    text = f"the study until now is kept as {name!r}, without {freed:.1f} MB of weights"
    kept = artifact_folder(root=layout.artifacts, experiment=config.name)
    if kept.exists():
        text += (
            "; its reports and models, with those of earlier ones, are kept: "
            f"{size_of(kept) / 10**6:.1f} MB in {kept}"
        )
    return text + ("" if config.storage else "; `tlsearch clean` removes what was set aside")


def begin(folder: Path, config: StudyConfig, rows: Iterable[RunRow]) -> None:
    """Write down what is run, and clear away what killed processes left."""
    write_text(folder / "study.yaml", to_yaml(redacted(config)))
    sweep(folder, open_keys={r.run.key for r in rows if r.state in OPEN})


def settled_in(layout: Layout) -> Iterator[str]:
    """Make the stores here name their own folder, should that have been moved or copied; what is
    then said of it.

    Raises:
        WorkError: MLflow's database cannot be written.
    """
    for old in settle_in(layout.mlflow_db, layout.artifacts):
        yield (
            f"{layout.root} was moved or copied from {old}: what MLflow's database said to lie "
            "there is now looked for, and written, here"
        )


def is_mirrored(store: Store, layout: Layout) -> bool:
    """Whether MLflow was left whole, and its database is still there."""
    file = sqlite_path(tracking_address(store.config, layout))
    return bool(store.noted(MIRRORED)) and (file is None or file.exists())


@contextmanager
def coordinating(
    store: Store, *, layout: Layout, interrupts: Interrupts, watch: Watcher
) -> Iterator[Coordinator]:
    """Open it all; at the end, whatever ends it, close it and note how MLflow was left."""
    config, folder = store.config, layout.study(store.config.name)
    gpus = 0 if config.device == "cpu" else visible_gpus()
    num_workers = planned_workers(config.workers, device=config.device)
    refuse_unusable(absolute_address(tracking_address(config, layout)), config.name)
    mirror = Mirror(  # checks the address, so it comes before there are processes to end
        tracking_uri=tracking_address(config, layout),
        artifact_root=layout.artifacts,
        experiment=config.name,
        study_key=store.key,
        flush_seconds=FLUSH_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
        gives_up=lambda: interrupts.at_once,
    )
    # What prepares has a process of its own, which takes its memory with it.
    preparer = LocalExecutor(num_workers=1, num_devices=gpus)
    executor = LocalExecutor(num_workers=num_workers, num_devices=gpus)
    status: Any = "FAILED"
    try:
        store.note(MIRRORED, False)
        yield Coordinator(
            store=store,
            layout=layout,
            folder=folder,
            mirror=mirror,
            workers=executor,
            preparer=preparer,
            interrupts=interrupts,
            watch=watch,
            num_workers=num_workers,
        )
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        preparer.shutdown(now=True)
        executor.shutdown(now=status != "FINISHED")
        whole = mirror.close(status=status)
        if mirror.experiment_id is not None:
            address = hidden(mirror.tracking_uri)
            ids = {"experiment_id": mirror.experiment_id, "run_id": mirror.run_id(PARENT)}
            store.note(MLFLOW, {"tracking_uri": address, **ids})
            store.note(MIRRORED, whole)
        for text in mirror.take_notices():
            watch(Remark(text))


def tracking_address(config: StudyConfig, layout: Layout) -> str:
    """MLflow's address: the study's, or a database under mlruns/."""
    return config.tracking_uri or f"sqlite:///{layout.mlflow_db}"


@contextmanager
def disk_errors(layout: Layout) -> Iterator[None]:
    """Word what the operating system says about the state folder.

    Raises:
        RequestError: the folder cannot be used.
        WorkError: a disk or a store failed.
    """
    try:
        yield
    except StorageInternalError as error:
        raise WorkError(
            f"Optuna's storage cannot be used ({str(error).splitlines()[0]}) — start its server or "
            "free some disk space, then run again; what is stored is kept"
        ) from error
    except OSError as error:
        place = error.filename or layout.root
        if error.errno in (EEXIST, ENOTDIR):
            raise RequestError(
                f"{place}: is no folder, and tlsearch keeps its state in {layout.root} — move it "
                "away, or run in another folder"
            ) from error
        if error.errno in (EACCES, EPERM, EROFS):
            raise RequestError(
                f"{place}: {error.strerror} — tlsearch keeps its state in {layout.root}: make it "
                "writable, or run in another folder"
            ) from error
        raise WorkError(
            f"{place}: {error.strerror or error} — tlsearch keeps its state in {layout.root}: free "
            "some space there, or run in another folder; what is stored is kept"
        ) from error
