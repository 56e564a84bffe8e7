"""Faults made for real: what a crash leaves behind, and stores that go away in the middle."""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from tests.tracking.conftest import (
    MakeMirror,
    finish,
    history,
    metrics,
    open_parent,
    runs,
    start,
)
from tlsearch.errors import WorkError
from tlsearch.tracking.mlflow_logger import Mirror
from tlsearch.tracking.reconcile import (
    KEY_TAG,
    PARENT,
    PARENT_TAG,
    STUDY_TAG,
    EpochMetrics,
    Wanted,
    wanted,
)

EPOCHS = 4


METRICS = [EpochMetrics(e, 1000 + e, {"loss": 1 / e, "acc": e / 10}) for e in range(1, EPOCHS + 1)]


def row(key: str, **changes: Any) -> Wanted:
    """A complete run as the truth knows it, but for these changes."""
    complete: dict[str, Any] = {
        "run_name": f"trial-{key}",
        "params": {"lr": 0.1},
        "tags": {"tlsearch.state": "complete"},
        "metrics": METRICS,
        "artifacts": {"confusion.json": [[1]]},
        "status": "FINISHED",
        "start_ms": 1000,
        "end_ms": 2000,
    }
    return wanted(key, **(complete | changes))


def later_epochs(study: Mirror, key: str) -> None:
    """Show all epochs but the first."""
    study.show(wanted(key, metrics=METRICS[1:]))


def complete(client: MlflowClient, run: Run, key: str) -> bool:
    return (
        run.info.status == "FINISHED"
        and run.info.run_name == f"trial-{key}"
        and run.data.params == {"lr": "0.1"}
        and run.data.tags["tlsearch.state"] == "complete"
        and history(client, run, "loss") == [(e, 1 / e) for e in range(1, EPOCHS + 1)]
        and history(client, run, "acc") == [(e, e / 10) for e in range(1, EPOCHS + 1)]
        and [file.path for file in client.list_artifacts(run.info.run_id)] == ["confusion.json"]
    )


def plant(client: MlflowClient, parent: str, key: str, *, epochs: int, lr: float = 0.1) -> str:
    """A child as a crash may leave it: running, with some of its epochs."""
    experiment = client.get_experiment_by_name("quickstart")
    tags = {STUDY_TAG: "k1", KEY_TAG: key, PARENT_TAG: parent, "tlsearch.state": "running"}
    run = client.create_run(experiment.experiment_id, tags=tags, run_name=f"trial-{key}")
    client.log_param(run.info.run_id, "lr", str(lr))
    for epoch in range(1, epochs + 1):
        values = {"loss": 1 / epoch, "acc": epoch / 10}
        metrics = [Metric(name, value, 1000 + epoch, epoch) for name, value in values.items()]
        client.log_batch(run.info.run_id, metrics)
    return str(run.info.run_id)


def parent_of(study: Mirror) -> str:
    assert study.flush()
    run_id = study.run_id(PARENT)
    assert run_id is not None
    return run_id


def test_one_pass_reconciles_everything(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror()
    parent = parent_of(study)
    plant(client, parent, "running", epochs=2)
    plant(client, parent, "twice", epochs=1)
    fuller = plant(client, parent, "twice", epochs=3)
    plant(client, parent, "stray", epochs=1)
    contradicting = plant(client, parent, "other", epochs=EPOCHS, lr=0.7)
    plant(client, "a parent that is gone", "adopted", epochs=EPOCHS)
    paused = plant(client, parent, "paused", epochs=1)
    second_parent = client.create_run(study.experiment_id, tags={STUDY_TAG: "k1"}).info.run_id
    foreign = client.create_run(study.experiment_id, run_name="the user's own").info.run_id

    keys = ["missing", "running", "twice", "other", "adopted"]
    rows = [row(key) for key in keys]
    rows.append(row("paused", status="SCHEDULED", metrics=METRICS[:1], artifacts={}))
    assert study.close(status="KILLED")
    study = mirror(opening={"children": rows})
    assert study.flush()

    assert client.get_run(foreign).info.lifecycle_stage == "active"
    client.delete_run(foreign)
    (kept_parent,), children = runs(client)
    assert kept_parent.info.run_id == parent != second_parent
    assert set(children) == {*keys, "paused"}
    assert all(complete(client, children[key], key) for key in keys)
    assert {child.data.tags[PARENT_TAG] for child in children.values()} == {parent}
    assert children["twice"].info.run_id == fuller
    assert children["other"].info.run_id != contradicting
    assert children["paused"].info.run_id == paused
    assert children["paused"].info.status == "SCHEDULED"
    assert study.take_notices() == ()


def test_a_second_pass_changes_nothing(mirror: MakeMirror, database: Path) -> None:
    dumps = []
    for _ in range(2):
        study = mirror(opening={"children": [row("0"), row("1")]})
        assert study.flush()
        with closing(sqlite3.connect(database)) as raw:
            dumps.append(list(raw.iterdump()))
    assert dumps[0] == dumps[1]


def test_a_reconciled_trial_is_continued(mirror: MakeMirror, client: MlflowClient) -> None:
    planted = plant(client, parent_of(mirror()), "0", epochs=2)
    known = row("0", status="RUNNING", metrics=METRICS[:1], artifacts={})
    study = mirror(opening={"children": [known]})
    start(study, "0", run_name="trial-0", params={"lr": 0.1})
    later_epochs(study, "0")
    finish(
        study,
        "0",
        status="FINISHED",
        tags={"tlsearch.state": "complete"},
        artifacts={"confusion.json": []},
    )
    assert study.close(status="FINISHED")
    child = runs(client)[1]["0"]
    assert child.info.run_id == planted
    assert complete(client, child, "0")


def test_a_pass_spares_what_was_started_meanwhile(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror(opened=False)
    start(study, "mine", run_name="mine")
    open_parent(study, opening={"children": [row("0")]})
    study.flush()
    assert set(runs(client)[1]) == {"mine", "0"}
    study.close(status="KILLED")


def rename(database: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(database)) as raw:
        raw.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_store_that_goes_and_comes_back(
    mirror: MakeMirror, client: MlflowClient, database: Path
) -> None:
    study = mirror()
    start(study, "0", run_name="trial-0", params={"lr": 0.1})
    metrics(study, "0", step=1, values={"loss": 1.0, "acc": 0.1}, timestamp_ms=1001)
    assert study.flush()
    rename(database, "metrics", "gone")
    later_epochs(study, "0")
    assert not study.flush()
    assert not study.flush()
    (notice,) = study.take_notices()
    assert "cannot be reached" in notice
    assert "nothing is lost" in notice
    finish(
        study,
        "0",
        status="FINISHED",
        tags={"tlsearch.state": "complete"},
        artifacts={"confusion.json": []},
    )
    rename(database, "gone", "metrics")
    assert study.flush()
    (notice,) = study.take_notices()
    assert notice.endswith("is back and up to date")
    assert complete(client, runs(client)[1]["0"], "0")


def test_a_store_that_stays_away_costs_one_notice(
    mirror: MakeMirror, client: MlflowClient, database: Path
) -> None:
    study = mirror(opened=False)
    open_parent(study)
    assert study.flush()
    rename(database, "metrics", "gone")
    for key in ("0", "1"):
        start(study, key, run_name=f"trial-{key}", params={"lr": 0.1})
        metrics(study, key, step=1, values={"loss": 1.0}, timestamp_ms=1)
        finish(study, key, status="FINISHED")
    assert not study.close(status="FINISHED")
    lost, unfinished = study.take_notices()
    assert "cannot be reached" in lost
    assert "running the study again completes MLflow" in unfinished

    rename(database, "gone", "metrics")
    again = mirror(opening={"children": [row("0"), row("1")]})
    again.close(status="FINISHED")
    (parent,), children = runs(client)
    assert parent.info.status == "FINISHED"
    assert all(complete(client, children[key], key) for key in ("0", "1"))


def test_artifacts_without_a_place(
    mirror: MakeMirror, client: MlflowClient, tmp_path: Path
) -> None:
    """The closing status waits for the files: a finished child has all of them."""
    study = mirror()
    study.flush()
    (tmp_path / "artifacts").write_text("a file where the folder should be")
    start(study, "0", run_name="trial-0")
    study.flush()
    finish(study, "0", status="FINISHED", artifacts={"a.txt": "text"})
    assert not study.flush()
    assert runs(client)[1]["0"].info.status == "RUNNING"
    (tmp_path / "artifacts").unlink()
    assert study.flush()
    child = runs(client)[1]["0"]
    assert child.info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(child.info.run_id)] == ["a.txt"]


def test_a_trial_that_is_refused_holds_nobody_up(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror()
    study.flush()
    start(study, "bad", run_name="bad")
    metrics(study, "bad", step=1, values={"loss": 1.0}, timestamp_ms=-1)
    start(study, "good", run_name="good")
    while not study.flush():
        pass
    finish(study, "bad", status="FINISHED")
    finish(study, "good", status="FINISHED")
    assert study.flush()
    statuses = {key: run.info.status for key, run in runs(client)[1].items()}
    assert statuses == {"bad": "KILLED", "good": "FINISHED"}
    refusals = [notice for notice in study.take_notices() if "refuses 'bad'" in notice]
    assert len(refusals) == 1


def test_a_defect_is_raised_once_and_stops_nothing_else(mirror: MakeMirror) -> None:
    study = mirror(opened=False)
    open_parent(study)
    study.flush()
    study.show(wanted(PARENT, artifacts={"no\0file": "text"}))
    with pytest.raises(WorkError, match="no trial is lost"):
        study.flush()
    start(study, "0", run_name="trial")
    assert not study.close(status="FINISHED")


class Server:
    """MLflow's own server over a SQLite store, in a thread, so that it can be stopped at once."""

    def __init__(self, database: Path, artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("_MLFLOW_SERVER_FILE_STORE", f"sqlite:///{database}")
        monkeypatch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", artifacts.as_uri())
        monkeypatch.setattr("mlflow.server.handlers._tracking_store", None)  # of an earlier server
        # The server sets MLflow's global address too, which must not outlive the test.
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{database}")
        monkeypatch.setattr("mlflow.tracking._tracking_service.utils._tracking_uri", None)
        self.port = 0
        self.start()

    def start(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the server's own libraries are not our matter
            import mlflow.server.fastapi_app  # noqa: F401 — else imported in a request
            from mlflow.server import app
            from werkzeug.serving import make_server

        self._server = make_server("127.0.0.1", self.port, app, threaded=True)
        self.port = self._server.server_port
        self._thread = Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    one = Server(database, tmp_path / "served", monkeypatch)
    yield one
    one.stop()


def test_a_server_that_is_stopped_and_started_again(
    mirror: MakeMirror, client: MlflowClient, server: Server, capfd: pytest.CaptureFixture[str]
) -> None:
    study = mirror(tracking_uri=f"http://127.0.0.1:{server.port}", artifact_root=None)
    start(study, "0", run_name="trial-0", params={"lr": 0.1})
    metrics(study, "0", step=1, values={"loss": 1.0, "acc": 0.1}, timestamp_ms=1001)
    assert study.flush()
    server.stop()
    later_epochs(study, "0")
    assert not study.flush()
    finish(
        study,
        "0",
        status="FINISHED",
        tags={"tlsearch.state": "complete"},
        artifacts={"confusion.json": []},
    )
    server.start()
    assert study.flush()
    assert complete(client, runs(client)[1]["0"], "0")
    gone, back = study.take_notices()
    assert "cannot be reached" in gone
    assert "is back" in back
    assert capfd.readouterr() == ("", "")


def test_runs_that_somebody_deletes_meanwhile(
    mirror: MakeMirror, client: MlflowClient, server: Server
) -> None:
    study = mirror(tracking_uri=f"http://127.0.0.1:{server.port}", artifact_root=None)
    start(study, "0", run_name="trial-0", params={"lr": 0.1})
    assert study.flush()
    for key in ("0", PARENT):
        client.delete_run(study.run_id(key))
    metrics(study, "0", step=1, values={"loss": 1.0}, timestamp_ms=1001)
    while not study.flush():
        pass
    (parent,), children = runs(client)
    assert children["0"].data.tags[PARENT_TAG] == parent.info.run_id
    assert children["0"].data.metrics == {"loss": 1.0}
    assert parent.info.run_name == "quickstart"


def test_no_server_at_the_start(mirror: MakeMirror) -> None:
    study = mirror(opened=False, tracking_uri="http://127.0.0.1:9")
    open_parent(study)
    with pytest.raises(WorkError, match=r"127.0.0.1:9 cannot be used: .* — start the server or"):
        study.flush()


def test_what_a_set_aside_study_left_open_is_ended(
    mirror: MakeMirror, client: MlflowClient
) -> None:
    killed = mirror(study_key="old")
    for key in ("trial-0", "trial-1"):
        start(killed, key, run_name=key)
    finish(killed, "trial-1", status="SCHEDULED")
    assert killed.flush()  # and here its process is killed
    assert mirror(study_key="of another folder").flush()
    fresh = mirror(study_key="new", opening={"abandoned": "old"})
    start(fresh, "trial-0", run_name="trial-0")
    assert fresh.flush()
    assert fresh.experiment_id is not None
    found = {
        (run.data.tags[STUDY_TAG], run.info.run_name): run.info.status
        for run in client.search_runs([fresh.experiment_id])
    }
    ended = dict.fromkeys([("old", "quickstart"), ("old", "trial-0"), ("old", "trial-1")], "KILLED")
    going = [("of another folder", "quickstart"), ("new", "quickstart"), ("new", "trial-0")]
    assert found == ended | dict.fromkeys(going, "RUNNING")
