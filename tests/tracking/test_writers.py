"""Both writers leave the same run behind, as MLflow's own client reads it."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tlsearch.tracking.reconcile import Change, Known, Point
from tlsearch.tracking.store import open_store
from tlsearch.tracking.writers import ClientWriter, TableWriter, Writer

NEW = Change(
    key="0",
    known=None,
    run_name="trial-0000",
    start_ms=1000,
    params={"lr": "0.1", "optimizer": "sgd"},
    tags={"tlsearch.key": "0", "state": "running"},
    points=[Point("loss", 1, 1, 2.0), Point("acc", 1, 1, 0.5), Point("loss", 2, 2, 1.0)],
    artifacts={"a/b.txt": "text"},
    status="RUNNING",
    end_ms=None,
)


@pytest.fixture(params=["client", "tables"])
def writer(request: pytest.FixtureRequest, uri: str, tmp_path: Path) -> Writer:
    store = open_store(tracking_uri=uri, artifact_root=tmp_path / "art", experiment="quickstart")
    assert isinstance(store.writer, TableWriter)
    if request.param == "tables":
        return store.writer
    return ClientWriter(client=store.client, experiment_id=store.experiment_id)


def write(writer: Writer, *changes: Change) -> dict[str, Known]:
    known: dict[str, Known] = {}
    writer.write(changes, lambda change, now: known.update({change.key: now}))
    return known


def test_a_new_run(writer: Writer, client: MlflowClient) -> None:
    known = write(writer, NEW)["0"]
    run = client.get_run(known.run_id)
    assert run.info.run_name == "trial-0000"
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("RUNNING", 1000, None)
    assert run.info.user_id == "unknown"
    assert run.info.artifact_uri == known.artifact_uri
    assert run.info.artifact_uri.endswith(f"{known.run_id}/artifacts")
    assert run.data.params == known.params == {"lr": "0.1", "optimizer": "sgd"}
    assert run.data.tags == {**known.tags, "mlflow.runName": "trial-0000"}
    assert run.data.metrics == {"loss": 1.0, "acc": 0.5}
    assert known.steps == {"loss": 2, "acc": 1}
    losses = client.get_metric_history(known.run_id, "loss")
    assert [(m.step, m.timestamp, m.value) for m in losses] == [(1, 1, 2.0), (2, 2, 1.0)]
    assert Path(client.download_artifacts(known.run_id, "a/b.txt")).read_text() == "text"


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_in_one_go(writer: Writer, client: MlflowClient, status: str) -> None:
    known = write(writer, NEW._replace(status=status, end_ms=2000))["0"]
    info = client.get_run(known.run_id).info
    assert (info.status, info.end_time) == (status, 2000)


def test_a_run_grows_pauses_and_ends(writer: Writer, client: MlflowClient) -> None:
    known = write(writer, NEW)["0"]
    more = NEW._replace(
        known=known,
        params={"late": "1"},
        tags={"state": "paused", "new": "x"},
        points=[Point("loss", 3, 3, 0.5), Point("fresh", 3, 3, 7.0)],
        artifacts={},
        status="SCHEDULED",
    )
    known = write(writer, more)["0"]
    run = client.get_run(known.run_id)
    assert run.info.status == "SCHEDULED"
    assert run.data.params == {"lr": "0.1", "optimizer": "sgd", "late": "1"}
    assert run.data.tags["state"] == "paused"
    assert run.data.tags["new"] == "x"
    assert run.data.metrics == {"loss": 0.5, "acc": 0.5, "fresh": 7.0}

    end = more._replace(known=known, params={}, tags={}, points=[], status="FAILED", end_ms=9000)
    write(writer, end)
    info = client.get_run(known.run_id).info
    assert (info.status, info.end_time) == ("FAILED", 9000)


def test_many_runs_are_acknowledged_one_by_one(
    writer: Writer, client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tlsearch.tracking.writers._BATCH", 2)
    known = write(writer, *(NEW._replace(key=str(n), artifacts={}) for n in range(5)))
    assert len({k.run_id for k in known.values()}) == 5
    experiment = client.get_experiment_by_name("quickstart")
    assert len(client.search_runs([experiment.experiment_id])) == 5


def test_tables_of_another_version_are_left_alone(uri: str, tmp_path: Path) -> None:
    from sqlalchemy import Column, Integer, MetaData

    store = open_store(tracking_uri=uri, artifact_root=tmp_path, experiment="quickstart")
    assert isinstance(store.writer, TableWriter)
    changed = store.writer._tags.to_metadata(MetaData())
    changed.append_column(Column("shard", Integer, nullable=False))
    store.writer._tags = changed
    assert not store.writer.fits()
