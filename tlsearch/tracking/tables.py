"""Writes changes straight into the tables of a local SQLite store, many runs a transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from tlsearch.tracking.records import Change
from tlsearch.tracking.writers import CLOSED, Acknowledge, write_artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy.orm import Session

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
