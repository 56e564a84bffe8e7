"""Optuna's storage and the lock that keeps a second coordinator off a study."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from filelock import FileLock, Timeout
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from tlsearch.errors import StoreError, WorkError
from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import Layout

LOCK_GRACE_SECONDS = 5
"""A process killed while it appended leaves its lock behind; appends take milliseconds."""


def storage_address(config: StudyConfig, layout: Layout) -> str:
    """What Optuna and its dashboard are given: the study's URL, or the journal's path."""
    return config.storage or str(layout.journal)


def open_storage(
    config: StudyConfig, layout: Layout, *, create: bool
) -> optuna.storages.BaseStorage | None:
    """Open the study's storage; None if it is a journal that does not exist and may not be made.

    Raises:
        WorkError: the storage cannot be reached, read or written.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        if config.storage is not None:
            return optuna.storages.get_storage(config.storage)
        if not layout.journal.exists() and not create:
            return None
        lock = JournalFileSymlinkLock(str(layout.journal), grace_period=LOCK_GRACE_SECONDS)
        if create and layout.journal.exists():
            _cut_torn_line(layout.journal, lock)
        backend = JournalFileBackend(str(layout.journal), lock_obj=lock)
        return optuna.storages.JournalStorage(backend)
    except Exception as error:  # SQLAlchemy's, the driver's, JSON's: all mean the same here
        address = storage_address(config, layout)
        raise WorkError(
            f"storage = {_without_password(address)}: cannot be opened "
            f"({type(error).__name__}: {str(error).splitlines()[0]}) — start the server or correct "
            "the address; a journal that is damaged can be moved away, the study then starts anew"
        ) from error


def _cut_torn_line(journal: Path, lock: JournalFileSymlinkLock) -> None:
    """Drop a last line that a killed process left without its end: it was never acknowledged, and
    the next record would be glued to it.
    """
    lock.acquire()
    try:
        with journal.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            tail = 0
            while tail < size:
                tail = min(size, tail + (1 << 16))
                file.seek(size - tail)
                end = file.read(tail).rfind(b"\n")
                if end >= 0 or tail == size:
                    file.truncate(size - tail + end + 1)
                    return
    finally:
        lock.release()


@contextmanager
def study_lock(folder: Path, name: str) -> Iterator[None]:
    """Hold a study for this process.

    Raises:
        StoreError: another process holds it.
    """
    owner = folder / "owner"
    lock = FileLock(folder / "lock", timeout=0)
    try:
        with lock:
            owner.write_text(str(os.getpid()))
            yield
            owner.unlink(missing_ok=True)
    except Timeout:
        held = owner.read_text().strip() if owner.exists() else "unknown"
        raise StoreError(
            f"name = {name!r}: another run of this study is under way (process {held}) — wait for "
            "it, stop it with Ctrl-C or SIGTERM, or give this study another name"
        ) from None


def is_running(folder: Path) -> bool:
    """Whether a coordinator holds the study now; asks without creating anything."""
    if not (folder / "lock").exists():
        return False
    try:
        with FileLock(folder / "lock", timeout=0):
            return False
    except Timeout:
        return True


def _without_password(address: str) -> str:
    before, at, after = address.rpartition("@")
    return f"{before.rpartition(':')[0]}:…@{after}" if at and before.count(":") > 1 else address
