"""Optuna's storage itself: its address, a journal of whole lines, the lock, starting over."""

import io
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import (
    BaseJournalBackend,
    JournalFileBackend,
    JournalFileSymlinkLock,
)
from optuna.trial import TrialState

from tlsearch.config.paths import PARTS, Layout
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import StoreError, WorkError, hidden
from tlsearch.tracking.address import missing_driver

LOCK_GRACE_SECONDS = 5
"""A process killed while it appended leaves its lock behind; appends take milliseconds."""
OWNER_GRACE_SECONDS = 1.0
"""`status` holds a study's lock for a moment to see whether it is free."""
KEY = "tlsearch:key"
"""User attribute of a study: which beginning of it this is."""
_LAST_TABLE = "alembic_version"
"""Optuna makes and fills it after all others."""
_SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]+)(.*)")


def storage_address(config: StudyConfig | None, layout: Layout) -> str:
    """What Optuna and its dashboard are given: the study's URL, or the journal's path; absolute.
    Without a study it is the journal.
    """
    if config is None or config.storage is None:
        return str(layout.journal)
    file = _SQLITE.fullmatch(config.storage)
    if file is None:
        return config.storage
    return f"{file[1]}{layout.root.parent / file[2]}{file[3]}"


def dashboard_app(address: str, *, pictures: str) -> Any:
    """Optuna Dashboard's WSGI application for a `storage_address` and a folder of pictures."""
    from optuna_dashboard import wsgi

    return wsgi(address, artifact_store=optuna.artifacts.FileSystemArtifactStore(pictures))


def open_storage(
    config: StudyConfig | None, layout: Layout, *, create: bool
) -> optuna.storages.BaseStorage | None:
    """Open the study's storage, or without a study the journal here; None if there is none yet and
    it may not be made.

    Raises:
        WorkError: the storage cannot be reached, read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if config is not None and config.storage is not None:
            address = storage_address(config, layout)
            if create and not _filled(address):
                file = _SQLITE.fullmatch(address)
                # Two that make the tables at once are in each other's way.
                with FileLock(f"{file[2]}.lock" if file else layout.root / "optuna.lock"):
                    return optuna.storages.get_storage(address)
            if create:
                return optuna.storages.get_storage(address)
            return _for_reading(address) if _filled(address) else None
        if not layout.journal.exists() and not create:
            return None
        return optuna.storages.JournalStorage(WholeLines(layout.journal))
    except Exception as error:  # SQLAlchemy's, the driver's, JSON's: all mean the same here
        why = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
        if isinstance(error, ImportError):
            why = missing_driver(error)
        raise WorkError(
            f"storage = {hidden(storage_address(config, layout))}: cannot be opened "
            f"({hidden(why)}) — start the server or correct the address; a journal that is "
            "damaged can be moved away, the study then starts anew"
        ) from error


def _filled(address: str) -> bool:
    """Whether a database holds all of Optuna's tables; creates neither them nor the file."""
    from sqlalchemy import create_engine, inspect, text

    file = _SQLITE.fullmatch(address)
    if file is not None and not Path(file[2]).exists():
        return False
    engine = create_engine(address)
    try:
        if not inspect(engine).has_table(_LAST_TABLE):
            return False
        with engine.connect() as connection:
            return connection.execute(text(f"SELECT 1 FROM {_LAST_TABLE}")).first() is not None  # noqa: S608
    finally:
        engine.dispose()


def _for_reading(address: str) -> optuna.storages.BaseStorage:
    """Optuna's own way would make tables, beside a coordinator that may be making them."""
    made = optuna.storages.RDBStorage(address, skip_table_creation=True)
    return optuna.storages.get_storage(made)


class WholeLines(BaseJournalBackend):
    """Optuna's journal file, which may never hold a record glued to half of another: a killed
    process and a full disk leave such halves, and nobody could read the journal again. Appends
    take the same lock as Optuna's own; to report upstream: `JournalFileBackend` appends without
    a look at how the file ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_GRACE_SECONDS)
        self._file = JournalFileBackend(str(path), lock_obj=self._lock)  # makes the file

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Records from a number on."""
        return self._file.read_logs(log_number_from)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, all or none.

        Raises:
            OSError: the disk is full, or the file may not be written.
        """
        content = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs).encode()
        self._lock.acquire()
        try:
            with self._path.open("rb+", buffering=0) as file:
                end = _end_of_lines(file)
                try:
                    file.truncate(end)
                    file.seek(end)
                    view = memoryview(content)
                    while view:
                        view = view[file.write(view) :]
                    os.fsync(file.fileno())
                except OSError:
                    file.truncate(end)
                    raise
        finally:
            self._lock.release()


def _end_of_lines(file: io.FileIO) -> int:
    """Where the last whole line ends. What follows was never acknowledged."""
    size = file.seek(0, os.SEEK_END)
    tail = 1
    while size:
        tail = min(size, tail)
        file.seek(size - tail)
        end = file.read(tail).rfind(b"\n")
        if end >= 0 or tail == size:
            return size - tail + end + 1
        tail *= 1 << 12
    return 0


@contextmanager
def study_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold a study for this process.

    Raises:
        StoreError: another process holds it.
    """
    owner = folder / "owner"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=OWNER_GRACE_SECONDS)
    except Timeout:
        held = owner.read_text().strip() if owner.exists() else "unknown"
        raise StoreError(
            f"name = {name!r}: another run of this study is under way (process {held}) — wait for "
            "it, stop it with Ctrl-C or SIGTERM, or give this study another name"
        ) from None
    try:
        owner.write_text(str(os.getpid()))
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def is_running(folder: Path) -> bool:
    """Whether a coordinator holds the study now; asks without creating anything."""
    if not (folder / "lock").exists():
        return False
    try:
        with FileLock(folder / "lock", timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a place where we may only read
        return (folder / "owner").exists()


# Starting a study over: what was there is set aside under another name, never deleted.


def set_aside(name: str, *, storage: optuna.storages.BaseStorage, folder: Path) -> str | None:
    """Rename the Optuna studies of `name` and drop its checkpoints and weights; the name that the
    study has now, None where there was none.

    The search's study goes last: whatever comes in between, what is left of the old study is one
    that can be carried on, and nothing of it is taken for the new one's. MLflow keeps what it
    has: a fresh study has a new key, and so a parent run of its own.
    """
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    known = optuna.get_all_study_names(storage)
    # Cells of a comparison, what is fixed, and the study itself, which goes last.
    ours = sorted(s for s in known if s.startswith(f"{name}:") and aside_name("", "") not in s)
    studies = [*ours, *([name] if name in known else [])]
    for study in studies:
        aside = aside_name(study, stamp)
        optuna.copy_study(
            from_study_name=study,
            from_storage=storage,
            to_storage=storage,
            to_study_name=aside,
        )
        _end_open_trials(optuna.load_study(study_name=aside, storage=storage), storage)
    for study in studies:
        if study == name:
            _drop_files(folder)
        optuna.delete_study(study_name=study, storage=storage)
    _drop_files(folder)
    return aside_name(name, stamp) if name in known else None


def _end_open_trials(study: optuna.Study, storage: optuna.storages.BaseStorage) -> None:
    """Nobody will carry them on, and none may stay RUNNING for ever."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        set_trial_state(storage, study.study_name, trial.number, TrialState.FAIL)


def set_trial_state(
    storage: optuna.storages.BaseStorage, study_name: str, number: int, state: TrialState
) -> None:
    """Put a trial back in the queue, or end it. `Study.tell` can end a running one alone, and
    Optuna has no other way to let a trial go on later under its number.
    """
    storage.set_trial_state_values(_trial_id(storage, study_name, number), state)


def trial_of(
    study: optuna.Study, number: int, *, storage: optuna.storages.BaseStorage
) -> optuna.Trial:
    """A trial of a study, to be written to; nothing is sampled for it."""
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.Trial(study, _trial_id(storage, study.study_name, number))


def _trial_id(storage: optuna.storages.BaseStorage, study_name: str, number: int) -> int:
    study_id = storage.get_study_id_from_name(study_name)
    return storage.get_trial_id_from_study_id_trial_number(study_id, number)


def aside_name(name: str, stamp: str) -> str:
    """Name of an Optuna study that was set aside at a time; there is no space in a user's name."""
    return f"{name} until {stamp}"


class Aside(NamedTuple):
    """A beginning of the study `of` that was set aside: `name` is that of its Optuna study, `key`
    the study's key then, `pictures` the files that Optuna keeps of it.
    """

    name: str
    of: str
    key: str
    pictures: tuple[str, ...]


def studies_aside(storage: optuna.storages.BaseStorage) -> list[Aside]:
    """Every study that was set aside, the oldest first."""
    found = []
    for name in sorted(optuna.get_all_study_names(storage)):
        of, mark, _ = name.partition(aside_name("", ""))
        if not mark or ":" in of:
            continue
        study = optuna.load_study(study_name=name, storage=storage)
        metas = optuna.artifacts.get_all_artifact_meta(study)
        key = str(study.user_attrs.get(KEY, ""))
        found.append(Aside(name, of, key, tuple(meta.artifact_id for meta in metas)))
    return found


def forget_aside(aside: Aside, storage: optuna.storages.BaseStorage) -> None:
    """Delete a study that was set aside, its cells first."""
    stamp = aside.name.removeprefix(aside.of)
    cells = [s for s in optuna.get_all_study_names(storage) if s.startswith(f"{aside.of}:")]
    for name in (*(cell for cell in cells if cell.endswith(stamp)), aside.name):
        optuna.delete_study(study_name=name, storage=storage)


def _drop_files(folder: Path) -> None:
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)
