"""Opens a tracking store: created whole, quietly, with nothing left to the environment."""

import json
import logging
import os
import sqlite3
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote, urlsplit
from uuid import uuid4

from tlsearch.config.paths import atomic_write, remove_drafts
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS
from tlsearch.errors import WorkError, hidden
from tlsearch.tracking.address import (
    artifact_location,
    deleted,
    refuse_closed,
    server_remedy,
    sqlite_path,
)
from tlsearch.tracking.reconcile import STUDY_TAG, Known

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


# What MLflow does unless configured; a variable that the user has set is left alone.
_MANNERS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it asks a server for its settings at import
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # what goes wrong is raised as well
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # repeating is the mirror's, which checks first
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds; 120 would outlast any farewell
}
_PAGE = 1000
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""Without it MLflow's UI shows the page for language models, which is empty here."""


class Store(NamedTuple):
    """An open store, and one experiment in it."""

    client: "MlflowClient"
    experiment_id: str

    def runs(self, study_key: str) -> list[Known]:
        """Every live run of one study, the parent's included, in pages of a thousand."""
        found: list[Known] = []
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                max_results=_PAGE,
                page_token=token,
            )
            # Chosen here: a filter string has no way to quote every key.
            found += [_known(run) for run in page if run.data.tags.get(STUDY_TAG) == study_key]
            token = page.token
            if not token:
                return found


def open_store(*, tracking_uri: str, artifact_root: Path | None, experiment: str) -> Store:
    """Open, creating the database and the experiment if needed. Takes seconds: MLflow's import.

    Raises:
        WorkError: the database cannot be written or is of another version, the server does not
            answer, the experiment lies in MLflow's bin.
    """
    hush()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    path = sqlite_path(tracking_uri)
    root = artifact_root if artifact_root or path is None else path.parent / "artifacts"
    if path is not None:
        _ready_sqlite(path)
    try:
        client = MlflowClient(tracking_uri)
        found = client.get_experiment_by_name(experiment)
        if found is None:
            at = artifact_location(root=root, experiment=experiment) if root and path else None
            found = client.get_experiment(client.create_experiment(experiment, at, _KIND))
    except (MlflowException, OSError) as error:
        status = _status(error)
        raise WorkError(
            f"MLflow at {hidden(tracking_uri)} cannot be used: {first_line(error)} — "
            f"{server_remedy(status)}"
        ) from error
    if found.lifecycle_stage != "active":
        raise deleted(tracking_uri, experiment, found.experiment_id)
    return Store(client, found.experiment_id)


def refuse_unusable(address: str, experiment: str) -> None:
    """Refuse a store that cannot be written, before anything is trained. Makes no more than the
    folder of a SQLite file, and takes no import of MLflow's.

    Raises:
        WorkError: the file cannot be written, nothing answers or we are not let in, the experiment
            lies in MLflow's bin.
    """
    path = sqlite_path(address)
    if path is not None:
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if _filled(path):
                _try_writing(path)
    refuse_closed(address, experiment)


def _status(error: Exception) -> int | None:
    """The HTTP status behind an error, if there is one."""
    status = getattr(error, "get_http_status_code", None)
    return int(status()) if status is not None else None


def hush() -> None:
    """Prepare for MLflow's import: nothing of it reaches the terminal."""
    for name, value in _MANNERS.items():
        os.environ.setdefault(name, value)
    # MLflow 3.17's own tables use what SQLAlchemy 2.1 deprecates; no user can help that.
    warnings.filterwarnings("ignore", message="The ``noload`` loader", category=DeprecationWarning)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # it tells every retry


@contextmanager
def manners_kept() -> Iterator[None]:
    """What `hush` puts into the environment is taken out of it at the end: a program that goes on
    may use MLflow for itself.
    """
    absent = [name for name in _MANNERS if name not in os.environ]
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


def first_line(error: BaseException) -> str:
    """What went wrong, in one short line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:300]


# A folder that was moved or copied: what lies in it is named by absolute addresses.


_ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow's database that say where artifacts lie. MLflow's client cannot
change them.
"""


def former_places(path: Path, artifacts: Path) -> list[Path]:
    """Where the folder of the database `path` and of its `artifacts` was when they were written, if
    it was moved or copied since; with a database elsewhere, none. Reads alone.
    """
    if path.parent != artifacts.parent or not _filled(path):
        return []
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
            found = database.execute(
                "SELECT DISTINCT artifact_location FROM experiments"
                " WHERE artifact_location LIKE 'file:///%'"
            ).fetchall()
    except sqlite3.Error:  # whoever opens it says what is wrong
        return []
    folders = dict.fromkeys(Path(unquote(urlsplit(at).path)).parent for (at,) in found)
    return [
        folder.parent
        for folder in folders
        if folder.parts[-2:] == artifacts.parts[-2:]
        and folder != artifacts
        and not (folder.exists() and artifacts.exists() and folder.samefile(artifacts))
    ]


def settle_in(path: Path, artifacts: Path) -> list[Path]:
    """Have the database name the `artifacts` beside it, also after its folder was moved or copied;
    where that was before, each of `former_places`.

    Raises:
        WorkError: the database cannot be written.
    """
    former = former_places(path, artifacts)
    if not former:
        return []
    with _writing(path), closing(sqlite3.connect(path, timeout=20)) as database, database:
        for old in former:
            for before, now in (
                (old.as_uri(), artifacts.parent.as_uri()),
                (old.as_posix(), artifacts.parent.as_posix()),  # of MLflow's own experiment
            ):
                for table, column in _ADDRESSES:
                    if column in _columns(database, table):
                        database.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?)"  # noqa: S608
                            f" WHERE substr({column}, 1, ?) = ?",
                            (f"{now}/", len(before) + 2, len(before) + 1, f"{before}/"),
                        )
    return former


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (OSError, sqlite3.Error, SQLAlchemyError) as error:  # the last from MLflow's migrations
        raise WorkError(
            f"MLflow's database {path} cannot be written: {first_line(error)} — make its folder"
            " writable, free some space, or choose another place for the study's stores"
        ) from error


def _ready_sqlite(path: Path) -> None:
    """Make sure that a whole database lies there and can be written.

    It is built under another name and then renamed: a process that is killed in the middle of
    MLflow's migrations, or a second one that opens the file meanwhile, finds no half of it.
    """
    from filelock import FileLock

    with _writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not _filled(path):
            with FileLock(f"{path}.lock", timeout=120):
                if not _filled(path):
                    _build(path)
        _try_writing(path)


def _try_writing(path: Path) -> None:
    with closing(sqlite3.connect(path, timeout=20, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("PRAGMA user_version = 0")
        database.execute("ROLLBACK")


def _filled(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0


def _build(path: Path) -> None:
    from mlflow import MlflowClient

    remove_drafts(path)  # the lock is held
    # A name that was never used: MLflow remembers by address what it has built.
    with atomic_write(path, suffix=f".{uuid4().hex}") as draft:
        draft.touch()  # fails here and now where MLflow would try for minutes
        MlflowClient(f"sqlite:///{draft.as_posix()}").search_experiments(max_results=1)


def _known(run: "Run") -> Known:
    return Known(
        run_id=run.info.run_id,
        status=run.info.status,
        start_ms=run.info.start_time,
        params=run.data.params,
        tags=run.data.tags,
        # `metrics` leaves out the step, and asking for it costs a call a metric.
        steps={metric.key: metric.step for metric in run.data.to_proto().metrics},
    )


# How MLflow's table of runs opens: which columns it has, and what it is sorted by.
#
# MLflow 3 keeps views that are shared as tags of the experiment, and opens the one that an address
# names; there is no other way to choose columns for somebody who has never looked at an experiment.


_KEY = "tlsearch"
_VIEW = f"mlflow.sharedViewState.{_KEY}"
_PRIMARY_METRIC = "mlflow.experiment.primaryMetric.name"
_NAME = "attributes.`Run Name`"
_NAME_PIXELS, _COLUMN_PIXELS = 340, 110
"""Room for `trial-0007 · freeze 3 · lr 2e-03`, and for a name and six digits."""


_FIRST_COLUMNS = ("freeze_depth", "lr", "lr_ratio", "optimizer")
"""Shown first among the dimensions that a study searches."""
_MAX_COLUMNS = 8


def experiment_view(config: StudyConfig) -> Mapping[str, str]:
    """An experiment's tags that show how good its runs are, the best on top, of what settings, and
    in what state; of a comparison where they belong.
    """
    metric, maximise = config.search.metric, METRICS[config.search.metric].maximise
    if config.comparison is not None:
        params, place = ["freeze_depth", "lr"], ["scenario", "arm", "seed"]
    else:
        searched = sorted(config.searched(), key=lambda name: name not in _FIRST_COLUMNS)
        params, place = searched[:_MAX_COLUMNS], ["kind"]
    shown = [
        f"metrics.`{metric}`",
        f"metrics.`{'val_loss' if maximise else 'val_accuracy'}`",
        *(f"params.`{name}`" for name in params),
        *(f"tags.`tlsearch.{name}`" for name in (*place, "state")),
        "attributes.`Duration`",
    ]
    state = {
        "selectedColumns": shown,
        "columnOrder": [_NAME, *shown],  # else by the alphabet
        "columnWidths": {_NAME: _NAME_PIXELS} | dict.fromkeys(shown, _COLUMN_PIXELS),
        "orderByKey": shown[0],
        "orderByAsc": not maximise,
    }
    return {_VIEW: json.dumps(state), _PRIMARY_METRIC: metric}


def view_of(tags: Collection[str]) -> str | None:
    """What an address calls the view, if an experiment with these tags has it."""
    return _KEY if _VIEW in tags else None
