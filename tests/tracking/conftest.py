"""One migrated database for all tests (MLflow's migrations take seconds), copied for each."""

import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MLflow's tables use what SQLAlchemy 2.1 deprecates
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
from mlflow import MlflowClient
from mlflow.entities import Run

from tests.search.conftest import study
from tlsearch.tracking.mlflow_logger import Mirror, now_ms
from tlsearch.tracking.reconcile import PARENT, EpochMetrics, wanted

__all__ = ["study"]

MakeMirror = Callable[..., Mirror]
FLUSH_SECONDS = 0.02


class FreshStore(NamedTuple):
    """A store made by a process of its own: its code, what it printed, what it left."""

    database: Path
    output: tuple[int, str, str]


_MAKE_STORE = """
from pathlib import Path
from typing import NamedTuple
from tlsearch.tracking.mlflow_logger import Mirror
from tlsearch.tracking.reconcile import PARENT, wanted
mirror = Mirror(tracking_uri="sqlite:///new/mlflow.db", artifact_root=Path("new/artifacts"),
                experiment="é / x", study_key="k", flush_seconds=1.0, patience_seconds=1.0,
                gives_up=lambda: False)
mirror.open(wanted(PARENT, run_name="x", artifacts={"a.txt": "b"}), children=(), datasets=(),
            experiment_tags={}, abandoned=None)
mirror.show(wanted("0", run_name="trial", status="RUNNING", params={"long": "x" * 9000}))
assert mirror.close(status="FINISHED")
assert mirror.tracking_uri == "sqlite:///" + str(Path.cwd() / "new/mlflow.db")
"""


@pytest.fixture(scope="session")
def fresh_store(tmp_path_factory: pytest.TempPathFactory) -> FreshStore:
    folder = tmp_path_factory.mktemp("fresh")
    done = subprocess.run(
        [sys.executable, "-c", _MAKE_STORE], cwd=folder, capture_output=True, text=True, check=False
    )
    return FreshStore(folder / "new/mlflow.db", (done.returncode, done.stdout, done.stderr))


@pytest.fixture
def database(fresh_store: FreshStore, tmp_path: Path) -> Path:
    path = tmp_path / "mlflow.db"
    shutil.copy(fresh_store.database, path)
    return path


@pytest.fixture
def uri(database: Path) -> str:
    return f"sqlite:///{database}"


@pytest.fixture
def client(uri: str) -> MlflowClient:
    return MlflowClient(uri)


@pytest.fixture
def mirror(uri: str, tmp_path: Path) -> Iterator[MakeMirror]:
    """Makes mirrors, opened by default; closes those that a test left open."""
    made: list[Mirror] = []

    def make(
        *, opened: bool = True, opening: Mapping[str, Any] | None = None, **changes: object
    ) -> Mirror:
        settings: dict[str, object] = {
            "tracking_uri": uri,
            "artifact_root": tmp_path / "artifacts",
            "experiment": "quickstart",
            "study_key": "k1",
            "flush_seconds": FLUSH_SECONDS,
            "patience_seconds": 0.0,
            "gives_up": lambda: False,
        }
        one = Mirror(**(settings | changes))  # type: ignore[arg-type]
        if opened:
            open_parent(one, opening=opening)
            made.append(one)
        return one

    yield make
    for one in made:
        one.close(status="KILLED")


def open_parent(mirror: Mirror, *, opening: Mapping[str, Any] | None = None, **parent: Any) -> None:
    """Open with a parent run of these values."""
    settings = {"children": None, "datasets": (), "experiment_tags": {}, "abandoned": None}
    made = wanted(PARENT, **({"run_name": "quickstart"} | parent))
    mirror.open(made, **(settings | dict(opening or {})))


def start(mirror: Mirror, key: str, **what: Any) -> None:
    """Show a run as begun."""
    mirror.show(wanted(key, status="RUNNING", start_ms=now_ms(), **what))


def metrics(
    mirror: Mirror, key: str, *, step: int, values: Mapping[str, float], timestamp_ms: int
) -> None:
    """Show an epoch of a run."""
    mirror.show(wanted(key, metrics=[EpochMetrics(step, timestamp_ms, values)]))


def finish(mirror: Mirror, key: str, **what: Any) -> None:
    """Show a run as ended."""
    mirror.show(wanted(key, end_ms=now_ms(), **what))


def runs(client: MlflowClient) -> tuple[list[Run], dict[str, Run]]:
    """The parents, and the children by key; fails where a key has two."""
    experiment = client.get_experiment_by_name("quickstart")
    found = list(client.search_runs([experiment.experiment_id]))
    parents = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in found if run not in parents]
    by_key = {run.data.tags["tlsearch.key"]: run for run in children}
    assert len(by_key) == len(children)
    return parents, by_key


def history(client: MlflowClient, run: Run, name: str) -> list[tuple[int, float]]:
    """(step, value) of one metric, in the order of steps."""
    points = client.get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in points)
