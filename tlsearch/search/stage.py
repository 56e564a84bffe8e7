"""What an invocation works with: workers, mirror and coordinator, opened once and always closed."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EACCES, EEXIST, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError

from tlsearch.config.cost import usable_cores, visible_gpus
from tlsearch.config.paths import Layout, sweep, user_cache, write_text
from tlsearch.config.resolved import redacted, to_yaml
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import RequestError, WorkError, hidden
from tlsearch.execution.executor import LocalExecutor
from tlsearch.execution.interrupts import Interrupted, Interrupts
from tlsearch.execution.messages import Event, Job, Prepared, PrepareJob
from tlsearch.execution.runs import RunRow
from tlsearch.search.events import Remark, Watcher
from tlsearch.search.job_maker import MakeJob
from tlsearch.search.ledger import MIRRORED, MLFLOW, Ledger
from tlsearch.search.scheduler import Coordinator, Teller, run_errand
from tlsearch.search.storage import open_storage, set_aside, study_lock
from tlsearch.tracking.address import sqlite_path
from tlsearch.tracking.mlflow_logger import Mirror
from tlsearch.tracking.reconcile import PARENT

FLUSH_SECONDS = 2.0
PATIENCE_SECONDS = 10.0
SOURCE_THREADS = 1
"""Threads that train the source model. Two give 1.7 times the speed on two idle cores and a tenth
of it on busy ones, and the weights would depend on the number of cores.
"""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Everything that a study's or a comparison's own order of work is carried out with."""

    ledger: Ledger
    layout: Layout
    folder: Path
    mirror: Mirror
    coordinator: Coordinator
    preparer: LocalExecutor
    interrupts: Interrupts
    watch: Watcher
    workers: int

    def prepare(self, config: StudyConfig) -> Prepared:
        """Read data and weights of a study in the process that prepares."""
        found = self.errand(
            PrepareJob(
                config=config,
                cache=self.layout.cache,
                user_cache=user_cache(),
                threads=SOURCE_THREADS,
            )
        )
        assert isinstance(found, Prepared)
        return found

    def errand(self, job: Job) -> Event:
        """Do one job in the process that prepares, which takes its memory with it."""
        return run_errand(
            self.preparer, job, watch=self.watch, interrupts=self.interrupts, folder=self.folder
        )

    def end_preparing(self) -> None:
        """Let the process go that prepares."""
        self.preparer.shutdown(now=False)


@contextmanager
def occupied(
    config: StudyConfig, layout: Layout, *, fresh: bool, interrupts: Interrupts
) -> Iterator[optuna.storages.BaseStorage]:
    """Hold a study for this process, its folder made and, if asked, the old study set aside.

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
            if fresh:
                set_aside(config.name, storage=storage, folder=folder)
            yield storage


def begin(folder: Path, config: StudyConfig, rows: Iterable[RunRow]) -> None:
    """Write down what is run, and clear away what killed processes left."""
    write_text(folder / "study.yaml", to_yaml(redacted(config)))
    sweep(folder, open_keys={r.run.key for r in rows if r.state in ("running", "waiting")})


def is_mirrored(ledger: Ledger, layout: Layout) -> bool:
    """Whether MLflow was left whole, and its database is still there."""
    file = sqlite_path(tracking_address(ledger.config, layout))
    return bool(ledger.search.user_attrs.get(MIRRORED)) and (file is None or file.exists())


@contextmanager
def staged(
    ledger: Ledger,
    teller: Teller,
    *,
    make_job: MakeJob,
    layout: Layout,
    interrupts: Interrupts,
    watch: Watcher,
) -> Iterator[Stage]:
    """Open it all; at the end, whatever ends it, close it and note how MLflow was left.

    `ledger` keeps what is noted of the whole; `teller` is told how runs go on.
    """
    config, folder = ledger.config, layout.study(ledger.config.name)
    gpus = 0 if config.device == "cpu" else visible_gpus()
    workers = config.workers if config.workers != "auto" else gpus or usable_cores()
    mirror = Mirror(  # checks the address, so it comes before there are processes to end
        tracking_uri=tracking_address(config, layout),
        artifact_root=layout.artifacts,
        experiment=config.name,
        study_key=ledger.key,
        flush_seconds=FLUSH_SECONDS,
        patience_seconds=PATIENCE_SECONDS,
    )
    # What prepares has a process of its own, which takes its memory with it; meanwhile the workers
    # import torch and the mirror's thread imports mlflow, seconds each.
    preparer = LocalExecutor(num_workers=1, num_devices=gpus)
    executor = LocalExecutor(num_workers=workers, num_devices=gpus)
    coordinator = Coordinator(
        ledger=teller,
        executor=executor,
        mirror=mirror,
        watch=watch,
        interrupts=interrupts,
        folder=folder,
        make_job=make_job,
    )
    status: Any = "FAILED"
    mirror.give_up_when(lambda: interrupts.at_once)
    try:
        ledger.search.set_user_attr(MIRRORED, False)
        yield Stage(
            ledger=ledger,
            layout=layout,
            folder=folder,
            mirror=mirror,
            coordinator=coordinator,
            preparer=preparer,
            interrupts=interrupts,
            watch=watch,
            workers=workers,
        )
        status = "FINISHED"
    except Interrupted:
        status = "KILLED"
        raise
    finally:
        preparer.shutdown(now=True)
        executor.shutdown(now=status != "FINISHED")
        whole = mirror.close(status=status, tags={"tlsearch.state": status.lower()})
        if mirror.experiment_id is not None:
            address = hidden(mirror.tracking_uri)
            ids = {"experiment_id": mirror.experiment_id, "run_id": mirror.run_id(PARENT)}
            where = {"tracking_uri": address, **ids}
            ledger.search.set_user_attr(MLFLOW, where)
            ledger.search.set_user_attr(MIRRORED, whole)
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
