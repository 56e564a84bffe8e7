import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import optuna
import pytest
from optuna.storages._rdb.models import BaseModel

from tests.search.conftest import Study
from tests.search.fakes import drive, layout_in
from tlsearch.config.paths import Layout
from tlsearch.errors import StoreError, WorkError
from tlsearch.search.storage import is_running, open_storage, storage_address, study_lock
from tlsearch.search.store import Store


def files(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


@pytest.mark.parametrize("torn", [b'{"op_code": 4, "work', b"\x00\x01", b'{"op_code": 4}'])
def test_a_torn_last_line_is_cut(study: Study, tmp_path: Path, torn: bytes) -> None:
    config, layout = study(), layout_in(tmp_path)
    for done in range(2):  # the second time, something stands before and after the cut
        storage = open_storage(config, layout, create=True)
        assert storage is not None
        store = Store(config, storage)
        assert len(store.rows()) == done
        drive(store, store.ask(), [0.5] * 3)
        assert b"\n" + torn not in layout.journal.read_bytes()
        before = layout.journal.read_bytes()
        layout.journal.write_bytes(before + torn)
        reading = open_storage(config, layout, create=False)
        assert reading is not None
        assert len(Store(config, reading).rows()) == done + 1
        assert layout.journal.read_bytes() == before + torn, "a reading command writes nothing"


@pytest.mark.parametrize("content", [b"x" * 200_000, b""])
def test_a_journal_of_nothing_but_a_torn_line(study: Study, tmp_path: Path, content: bytes) -> None:
    layout = layout_in(tmp_path)
    layout.journal.write_bytes(content)
    storage = open_storage(study(), layout, create=True)
    assert storage is not None
    Store(study(), storage)
    assert layout.journal.read_bytes().startswith(b"{")


def test_a_damaged_journal_is_one_line(study: Study, tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    layout.journal.write_bytes(b"no JSON\n{}\n")
    with pytest.raises(WorkError) as caught:
        open_storage(study(), layout, create=True)
    message = str(caught.value)
    assert message.startswith(f"storage = {layout.journal}: cannot be opened (")
    assert "\n" not in message


@pytest.mark.parametrize("storage", ["null", "sqlite:///sub/x.db"])
def test_reading_creates_nothing(study: Study, tmp_path: Path, storage: str) -> None:
    config, layout = study(f"storage={storage}"), Layout(tmp_path / "mlruns")
    (tmp_path / "sub").mkdir()
    before = files(tmp_path)
    assert open_storage(config, layout, create=False) is None
    assert not is_running(layout.study("s"))
    assert files(tmp_path) == before


def test_reading_a_database_of_others_adds_no_tables(study: Study, tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"")
    assert open_storage(study("storage=sqlite:///x.db"), layout_in(tmp_path), create=False) is None
    assert (tmp_path / "x.db").read_bytes() == b""


def test_a_reader_waits_for_a_database_that_is_being_made(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, layout = study("storage=sqlite:///x.db"), layout_in(tmp_path)
    storage = open_storage(config, layout, create=True)
    assert storage is not None
    Store(config, storage)

    def fails(*_: object, **__: object) -> None:
        raise AssertionError("a reader makes tables")

    monkeypatch.setattr(BaseModel.metadata, "create_all", fails)
    reading = open_storage(config, layout, create=False)
    assert reading is not None
    assert len(reading.get_all_studies()) == 2
    for step in ("DELETE FROM alembic_version", "DROP TABLE alembic_version"):
        with closing(sqlite3.connect(tmp_path / "x.db")) as database, database:
            database.execute(step)
        assert open_storage(config, layout, create=False) is None


def test_addresses_are_absolute(study: Study, tmp_path: Path) -> None:
    layout = layout_in(tmp_path)
    told = {
        "null": f"{tmp_path}/mlruns/optuna.journal",
        "sqlite:///x.db": f"sqlite:///{tmp_path}/x.db",
        "sqlite:///x.db?timeout=20": f"sqlite:///{tmp_path}/x.db?timeout=20",
        "sqlite:////var/x.db": "sqlite:////var/x.db",
        "postgresql://u@h/x": "postgresql://u@h/x",
    }
    for written, address in told.items():
        assert storage_address(study(f"storage={written}"), layout) == address


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("sqlite:////proc/nowhere/x.db", "sqlite:////proc/nowhere/x.db"),
        ("nosuch://u:secret@h:1/x", "nosuch://u:***@h:1/x"),
        ("postgresql+nosuch://u:p/ss@h/x", "postgresql+nosuch://u:***@h/x"),
    ],
)
def test_an_address_that_cannot_be_opened_is_one_line(
    study: Study, tmp_path: Path, address: str, told: str
) -> None:
    config = study(f"storage={address}")
    for create in (True, False):
        if not create and address.startswith("sqlite"):
            continue
        with pytest.raises(WorkError) as caught:
            open_storage(config, layout_in(tmp_path), create=create)
        message = str(caught.value)
        assert message.startswith(f"storage = {told}: cannot be opened (")
        assert "secret" not in message
        assert "p@ss" not in message
        assert "\n" not in message


def test_a_driver_that_repeats_the_address_tells_no_password(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(address: str) -> None:
        raise ValueError(f"cannot parse {address}")

    monkeypatch.setattr(optuna.storages, "get_storage", fails)
    monkeypatch.setattr("tlsearch.search.storage._filled", lambda _address: True)
    with pytest.raises(WorkError, match=r"\(ValueError: cannot parse mysql://u:\*\*\*@h/x\)"):
        open_storage(study("storage=mysql://u:secret@h/x"), layout_in(tmp_path), create=True)


def test_one_coordinator_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    assert not is_running(folder)
    with study_lock(folder, "s"):
        assert is_running(folder)
        with pytest.raises(StoreError, match=rf"under way \(process {os.getpid()}\)"):
            study_lock(folder, "s").__enter__()
        other = f"from tlsearch.search.storage import *; print(is_running(Path({str(folder)!r})))"
        done = subprocess.run(
            [sys.executable, "-c", other], capture_output=True, text=True, check=True
        )
        assert done.stdout == "True\n"
    assert not is_running(folder)
    with study_lock(folder, "s"):
        pass


def test_the_lock_is_given_back_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="of the work"), study_lock(tmp_path, "s"):
        raise TimeoutError("of the work")
    assert not (tmp_path / "owner").exists()
    assert not is_running(tmp_path)


def test_a_database_works_like_a_journal(study: Study, tmp_path: Path) -> None:
    config, layout = study("storage=sqlite:///x.db"), layout_in(tmp_path)
    storage = open_storage(config, layout, create=True)
    assert storage is not None
    store = Store(config, storage)
    drive(store, store.ask(), [0.5] * 3)
    assert (tmp_path / "x.db").exists()
    assert not layout.journal.exists()
    again = open_storage(config, layout, create=False)
    assert again is not None
    assert optuna.load_study(study_name="s", storage=again).best_value == 0.5


def test_two_studies_make_one_database_at_once(study: Study, tmp_path: Path) -> None:
    config, layout = study("storage=sqlite:///x.db"), layout_in(tmp_path)
    with ThreadPoolExecutor(4) as threads:
        opened = [threads.submit(open_storage, config, layout, create=True) for _ in range(4)]
    assert all(one.result() is not None for one in opened)
