"""One undisturbed study that all others are compared with, and places to disturb others in."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.faults.running import STUDY, Place
from tests.faults.stores import check_agreement, check_tidy, told

_KEPT = ("alembic_version", "experiments", "workspaces")
MakePlace = Callable[..., Place]

CONFIRMED = STUDY.replace("confirm: null", "confirm: {top: 1, seeds: 1}").replace(
    "baselines: []", "baselines: [full_fine_tuning]"
)


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Place:
    """The whole way: a baseline, three trials, confirmation, test, model."""
    place = Place(tmp_path_factory.mktemp("undisturbed"), cache=cache, study=CONFIRMED)
    place.finish()
    check_agreement(place)
    check_tidy(place)
    return place


@pytest.fixture(scope="session")
def whole(undisturbed: Place) -> dict[str, dict[str, Any]]:
    """All runs of the undisturbed study."""
    return told(undisturbed)


@pytest.fixture(scope="session")
def searched(whole: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Its search alone: what the same study without baselines and confirmation must find."""
    return {key: run for key, run in whole.items() if key.startswith("trial-")}


@pytest.fixture
def make_place(tmp_path: Path, cache: Path, undisturbed: Place) -> MakePlace:
    """A place with a fresh study; MLflow's empty tables come from elsewhere, they cost seconds."""

    def make(*, study: str = STUDY, tables: bool = True) -> Place:
        place = Place(tmp_path, cache=cache, study=study)
        if tables:
            place.state.mkdir()
            shutil.copy(_emptied(undisturbed, tmp_path), place.state / "mlflow.db")
        return place

    return make


def _emptied(undisturbed: Place, folder: Path) -> Path:
    """A copy of the undisturbed study's database without its rows."""
    copy = folder / "tables.db"
    shutil.copy(undisturbed.state / "mlflow.db", copy)
    with closing(sqlite3.connect(copy, isolation_level=None)) as database:
        database.execute("PRAGMA foreign_keys = OFF")
        tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in tables:
            if name not in _KEPT and not name.startswith("sqlite_"):
                database.execute(f'DELETE FROM "{name}"')
        database.execute("DELETE FROM experiments WHERE name <> 'Default'")
    return copy
