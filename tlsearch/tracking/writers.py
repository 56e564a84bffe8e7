"""Writes changes through MLflow's public client, which serves every store."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from uuid import uuid4

from tlsearch.tracking.reconcile import Change, Known

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy.orm import Session


Acknowledge = Callable[[Change, Known], None]

CLOSED = ("FINISHED", "FAILED", "KILLED")


class Writer(Protocol):
    """Writes changes in order; a closing status comes last, after artifacts and metrics."""

    def write(self, changes: Sequence[Change], acknowledge: Acknowledge) -> None:
        """Write all, calling `acknowledge` for each that is safe; may raise half-way."""


class ClientWriter:
    """MLflow's public client: three calls a run, right for servers and every database."""

    def __init__(self, *, client: "MlflowClient", experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    def write(self, changes: Sequence[Change], acknowledge: Acknowledge) -> None:
        """Write one run after the other."""
        from mlflow.entities import Metric, Param, RunTag

        for change in changes:
            run_id, artifact_uri = self._run_of(change)
            write_artifacts(self._client, run_id, artifact_uri, change)
            self._client.log_batch(
                run_id,
                metrics=[Metric(p.name, p.value, p.timestamp_ms, p.step) for p in change.points],
                params=[Param(name, value) for name, value in change.params.items()],
                tags=[RunTag(name, value) for name, value in change.tags.items() if change.known],
            )
            if change.status in CLOSED:
                self._client.set_terminated(run_id, change.status, change.end_ms)
            elif change.status is not None and (change.known or change.status != "RUNNING"):
                self._client.update_run(run_id, status=change.status)
            acknowledge(change, change.applied(run_id=run_id, artifact_uri=artifact_uri))

    def _run_of(self, change: Change) -> tuple[str, str]:
        if change.known:
            return change.known.run_id, change.known.artifact_uri
        info = self._client.create_run(
            self._experiment_id,
            start_time=change.start_ms,
            tags=dict(change.tags),
            run_name=change.run_name,
        ).info
        return info.run_id, info.artifact_uri


def write_artifacts(client: "MlflowClient", run_id: str, artifact_uri: str, change: Change) -> None:
    """Write a run's files: straight to a local folder, else through MLflow's repository."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if not change.artifacts:
        return
    local = is_local_uri(artifact_uri)  # type: ignore[no-untyped-call]
    for name, text in change.artifacts.items():
        if local:
            folder = local_file_uri_to_path(artifact_uri)  # type: ignore[no-untyped-call]
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            client.log_text(run_id, text, name)


# Writes changes straight into the tables of a local SQLite store, many runs a transaction.


_BATCH = 50  # runs a transaction: another writer waits for some 100 ms at most

Row = Mapping[str, Any]


class _Placed(NamedTuple):
    """A change and the run that it goes to."""

    change: Change
    run_id: str
    artifact_uri: str


class TableWriter:
    """Fills MLflow's own table definitions in bulk.

    MLflow's client spends about 20 ms of Python on a trial here, this 2 to 4: the client opens
    four sessions a call and has the ORM watch every metric. `fits` tells whether the installed
    MLflow's tables are those that are filled here; the tests compare the runs of both writers.
    """

    def __init__(self, *, client: "MlflowClient", experiment_id: str, location: str) -> None:
        from mlflow.store.tracking.dbmodels import models

        self._client = client
        self._experiment_id = int(experiment_id)
        self._location = location.rstrip("/")
        self._session = client._tracking_client.store.ManagedSessionMaker
        self._runs: Any = models.SqlRun.__table__
        self._tags: Any = models.SqlTag.__table__
        self._params: Any = models.SqlParam.__table__
        self._metrics: Any = models.SqlMetric.__table__
        self._latest: Any = models.SqlLatestMetric.__table__

    def fits(self) -> bool:
        """Whether the tables have every column that is filled, and require no other."""
        pair = {"run_uuid", "key", "value"}
        metric = pair | {"step", "timestamp", "is_nan"}
        filled = (
            (self._runs, set(_RUN_CONSTANTS) | _RUN_COLUMNS),
            (self._tags, pair),
            (self._params, pair),
            (self._metrics, metric),
            (self._latest, metric),
        )
        return all(
            names <= set(table.c.keys())
            and all(c.name in names or c.nullable or c.server_default for c in table.c)
            for table, names in filled
        )

    def write(self, changes: Sequence[Change], acknowledge: Acknowledge) -> None:
        """Write in transactions of many runs."""
        for start in range(0, len(changes), _BATCH):
            batch = [self._place(change) for change in changes[start : start + _BATCH]]
            for change, run_id, artifact_uri in batch:
                write_artifacts(self._client, run_id, artifact_uri, change)
            with self._session(read_only=False) as session:
                self._write_runs(session, batch)
                self._write_texts(session, batch)
                self._write_metrics(session, batch)
            for change, run_id, artifact_uri in batch:
                acknowledge(change, change.applied(run_id=run_id, artifact_uri=artifact_uri))

    def _place(self, change: Change) -> _Placed:
        if change.known:
            return _Placed(change, change.known.run_id, change.known.artifact_uri)
        run_id = uuid4().hex
        return _Placed(change, run_id, f"{self._location}/{run_id}/artifacts")

    def _write_runs(self, session: "Session", batch: Sequence[_Placed]) -> None:
        from sqlalchemy import bindparam

        runs = self._runs
        _insert(session, runs, [self._run_row(p) for p in batch if p.change.known is None])
        changed = [
            {"b_run": run_id, "b_status": change.status, "b_end": _end_ms(change)}
            for change, run_id, _ in batch
            if change.known and change.status
        ]
        if changed:
            session.connection().execute(
                runs.update()
                .where(runs.c.run_uuid == bindparam("b_run"))
                .values(status=bindparam("b_status"), end_time=bindparam("b_end")),
                changed,
            )

    def _write_texts(self, session: "Session", batch: Sequence[_Placed]) -> None:
        tags = [row for placed in batch for row in _tag_rows(placed)]
        _delete(session, self._tags, tags)
        _insert(session, self._tags, tags)
        params = [
            {"run_uuid": run_id, "key": name, "value": value}
            for change, run_id, _ in batch
            for name, value in change.params.items()
        ]
        _insert(session, self._params, params)

    def _write_metrics(self, session: "Session", batch: Sequence[_Placed]) -> None:
        rows = [row for placed in batch for row in _metric_rows(placed)]
        _insert(session, self._metrics, rows)
        # Steps ascend, so the last row of a metric is its latest value.
        latest = {(row["run_uuid"], row["key"]): row for row in rows}
        _delete(session, self._latest, latest.values())
        _insert(session, self._latest, latest.values())

    def _run_row(self, placed: _Placed) -> Row:
        change, run_id, artifact_uri = placed
        return {
            **_RUN_CONSTANTS,
            "run_uuid": run_id,
            "name": change.run_name,
            "status": change.status or "RUNNING",
            "start_time": change.start_ms,
            "end_time": _end_ms(change),
            "artifact_uri": artifact_uri,
            "experiment_id": self._experiment_id,
        }


_RUN_COLUMNS = {
    *("run_uuid", "name", "status", "start_time", "end_time", "artifact_uri", "experiment_id")
}
_RUN_CONSTANTS: Row = {  # as MLflow's own store fills them
    "source_type": "UNKNOWN",
    "source_name": "",
    "entry_point_name": "",
    "user_id": "unknown",
    "deleted_time": None,
    "source_version": "",
    "lifecycle_stage": "active",
}


def _end_ms(change: Change) -> int | None:
    return change.end_ms if change.status in CLOSED else None


def _tag_rows(placed: _Placed) -> list[Row]:
    change, run_id, _ = placed
    tags = {**change.tags} if change.known else {"mlflow.runName": change.run_name, **change.tags}
    return [{"run_uuid": run_id, "key": name, "value": value} for name, value in tags.items()]


def _metric_rows(placed: _Placed) -> list[Row]:
    return [
        {
            "run_uuid": placed.run_id,
            "key": point.name,
            "value": point.value,
            "timestamp": point.timestamp_ms,
            "step": point.step,
            "is_nan": False,
        }
        for point in placed.change.points
    ]


def _insert(session: "Session", table: Any, rows: Iterable[Row]) -> None:
    if listed := list(rows):
        session.connection().execute(table.insert(), listed)


def _delete(session: "Session", table: Any, rows: Iterable[Row]) -> None:
    """Delete what these rows replace, named by run and key."""
    from sqlalchemy import bindparam

    if named := [{"b_run": row["run_uuid"], "b_key": row["key"]} for row in rows]:
        session.connection().execute(
            table.delete()
            .where(table.c.run_uuid == bindparam("b_run"))
            .where(table.c.key == bindparam("b_key")),
            named,
        )
