"""Optuna's storage and the lock that keeps a second coordinator off a study."""

import io
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._file import get_lock_file
from optuna.trial import TrialState

from tlsearch.config.cells import SEPARATOR
from tlsearch.config.paths import PARTS, Layout
from tlsearch.config.resolved import changes
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import StoreError, WorkError, hidden
from tlsearch.search.runs import aside_name, fixed_name

LOCK_GRACE_SECONDS = 5
"""A process killed while it appended leaves its lock behind; appends take milliseconds."""
OWNER_GRACE_SECONDS = 1.0
"""`status` holds a study's lock for a moment to see whether it is free."""
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
            if create:
                return optuna.storages.get_storage(address)
            return _for_reading(address) if _filled(address) else None
        if not layout.journal.exists() and not create:
            return None
        lock = JournalFileSymlinkLock(str(layout.journal), grace_period=LOCK_GRACE_SECONDS)
        backend = _WholeLines(str(layout.journal), lock_obj=lock)
        return optuna.storages.JournalStorage(backend)
    except Exception as error:  # SQLAlchemy's, the driver's, JSON's: all mean the same here
        why = f"{type(error).__name__}: {error}".splitlines()[0].removesuffix(": ")
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


class _WholeLines(JournalFileBackend):
    """Optuna's journal, which may never hold a record glued to half of another: a killed process
    and a full disk leave such halves, and nobody could read the journal again.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Write records, all or none.

        Raises:
            OSError: the disk is full, or the file may not be written.
        """
        records = "".join(f"{json.dumps(log, separators=(',', ':'))}\n" for log in logs)
        with get_lock_file(self._lock), Path(self._file_path).open("rb+", buffering=0) as file:
            end = _end_of_lines(file)
            try:
                file.truncate(end)
                file.seek(end)
                content = memoryview(records.encode())
                while content:
                    content = content[file.write(content) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)
                raise


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


def set_aside(name: str, *, storage: optuna.storages.BaseStorage, folder: Path) -> None:
    """Rename the Optuna studies of `name` and drop its checkpoints and weights.

    The search's study goes last: whatever comes in between, what is left of the old study is one
    that can be carried on, and nothing of it is taken for the new one's. MLflow keeps what it
    has: a fresh study has a new key, and so a parent run of its own.
    """
    stamp = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M:%S")
    known = {s.study_name for s in storage.get_all_studies()}
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


def _end_open_trials(study: optuna.Study, storage: optuna.storages.BaseStorage) -> None:
    """Nobody will carry them on, and none may stay RUNNING for ever."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING, TrialState.WAITING)):
        storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def _drop_files(folder: Path) -> None:
    for part in PARTS:
        shutil.rmtree(folder / part, ignore_errors=True)


# A study that has begun and a file that has changed since.


def told(name: str) -> str:
    """A study as its user knows it: by its name, or a cell by its place in the comparison."""
    _, *place = name.removesuffix(fixed_name("")).split(SEPARATOR)
    if len(place) == 2:
        return f"comparison.arms.{place[1]} in scenario {place[0]!r}"
    return f"name = {name!r}"


def refuse_changes(name: str, known: Any, ours: Mapping[str, Any]) -> None:
    """Compare what a study was begun as, None if not by tlsearch, with what it is now.

    Raises:
        StoreError: they differ.
    """
    if known is None:
        raise StoreError(
            f"name = {name!r}: the store holds an Optuna study of this name that tlsearch did not "
            "make — give this study another name"
        )
    changed = changes(known, ours)
    if changed:
        raise StoreError(
            f"{told(name)}: the study was started with other settings, and its trials cannot be "
            "mixed with new ones:\n"
            + "\n".join(f"  {line}" for line in changed)
            + "\nChange them back to carry on, give the study a new name, or start it over with "
            "--fresh"
        )
