import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tracking.conftest import (
    FreshStore,
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
from tlsearch.tracking.reconcile import PARENT, DatasetFacts, wanted


def run_trial(mirror: Mirror, key: str, *, epochs: int = 3, first: int = 1) -> None:
    start(
        mirror,
        key,
        run_name=f"trial-{int(key):04d}",
        params={"lr": 0.1},
        tags={"tlsearch.trial": key},
    )
    for epoch in range(first, first + epochs):
        metrics(
            mirror,
            key,
            step=epoch,
            values={"loss": 1 / epoch, "acc": 0.5},
            timestamp_ms=1000 + epoch,
        )
    finish(
        mirror,
        key,
        status="FINISHED",
        tags={"tlsearch.state": "complete"},
        artifacts={"confusion.json": {"matrix": [[1, 0], [0, 1]]}, "notes.txt": "é"},
    )


def test_one_parent_and_one_child_a_trial(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror()
    for number in range(3):
        run_trial(study, str(number))
    study.show(wanted(PARENT, tags={"tlsearch.best": "7"}, artifacts={"report.html": "<p>"}))
    assert study.close(status="FINISHED")

    (parent,), children = runs(client)
    assert parent.info.status == "FINISHED"
    tags = parent.data.tags
    assert (tags["tlsearch.state"], tags["tlsearch.best"]) == ("finished", "7")
    assert Path(client.download_artifacts(parent.info.run_id, "report.html")).read_text() == "<p>"
    assert set(children) == {"0", "1", "2"}
    child = children["1"]
    assert child.info.run_name == "trial-0001"
    assert child.info.status == "FINISHED"
    assert child.info.start_time <= child.info.end_time
    assert child.data.params == {"lr": "0.1"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id == study.run_id(PARENT)
    assert child.data.tags["tlsearch.state"] == "complete"
    assert child.data.metrics == {"loss": 1 / 3, "acc": 0.5}
    assert history(client, child, "loss") == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    matrix = client.download_artifacts(child.info.run_id, "confusion.json")
    assert json.loads(Path(matrix).read_text())["matrix"] == [[1, 0], [0, 1]]
    assert Path(client.download_artifacts(child.info.run_id, "notes.txt")).read_text() == "é"


def test_a_running_trial_is_visible(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror()
    start(study, "0", run_name="trial-0000", params={"lr": 1})
    metrics(study, "0", step=1, values={"loss": 2.0}, timestamp_ms=1)
    assert study.flush()
    (parent,), children = runs(client)
    assert parent.info.status == "RUNNING"
    assert children["0"].info.status == "RUNNING"
    assert children["0"].data.metrics == {"loss": 2.0}

    metrics(study, "0", step=2, values={"loss": 1.0}, timestamp_ms=2)
    assert study.flush()
    assert history(client, runs(client)[1]["0"], "loss") == [(1, 2.0), (2, 1.0)]
    assert runs(client)[1]["0"].data.metrics == {"loss": 1.0}


def test_a_parent_is_as_old_as_the_study(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror(opened=False)
    open_parent(study, start_ms=1_700_000_000_000)
    study.flush()
    assert runs(client)[0][0].info.start_time == 1_700_000_000_000


def test_a_resumed_study_has_one_parent(mirror: MakeMirror, client: MlflowClient) -> None:
    first = mirror(opened=False)
    open_parent(
        first, params={"budget.trials": 2}, tags={"git": "a"}, artifacts={"study.yaml": "a"}
    )
    run_trial(first, "0")
    start(first, "1", run_name="trial-0001", params={"lr": 2})
    metrics(first, "1", step=1, values={"loss": 1.0}, timestamp_ms=1)
    finish(first, "1", status="SCHEDULED", tags={"tlsearch.state": "paused"})
    first.close(status="KILLED")
    assert runs(client)[1]["1"].info.status == "SCHEDULED"
    assert runs(client)[0][0].info.status == "KILLED"

    second = mirror(opened=False)
    open_parent(
        second, params={"budget.trials": 4}, tags={"git": "b"}, artifacts={"study.yaml": "b"}
    )
    start(second, "1", run_name="trial-0001", params={"lr": 2}, tags={"tlsearch.state": "running"})
    for epoch in (1, 2):  # the first epoch is repeated: its checkpoint was lost
        metrics(second, "1", step=epoch, values={"loss": 1 / epoch}, timestamp_ms=10 * epoch)
    second.flush()
    (parent,), children = runs(client)
    assert parent.info.status == "RUNNING"
    assert children["1"].info.status == "RUNNING"
    assert children["1"].info.end_time is None
    finish(second, "1", status="FINISHED", tags={"tlsearch.state": "complete"})
    second.close(status="FINISHED")

    (parent,), children = runs(client)
    assert parent.info.run_id == first.run_id(PARENT)
    assert parent.data.params == {"budget.trials": "2"}
    assert parent.data.tags["tlsearch.changed.budget.trials"] == "2 → 4"
    assert parent.data.tags["git"] == "b"
    study_file = client.download_artifacts(parent.info.run_id, "study.yaml")
    assert Path(study_file).read_text() == "b"
    assert set(children) == {"0", "1"}
    assert children["1"].data.tags["tlsearch.state"] == "complete"
    assert history(client, children["1"], "loss") == [(1, 1.0), (2, 0.5)]


def test_another_study_key_is_another_parent(mirror: MakeMirror, client: MlflowClient) -> None:
    for key in ("k1", "it's a `new` one"):
        study = mirror(study_key=key)
        run_trial(study, "0")
        study.close(status="FINISHED")
        again = mirror(study_key=key)
        again.close(status="FINISHED")
    experiment = client.get_experiment_by_name("quickstart")
    assert len(client.search_runs([experiment.experiment_id])) == 4


def test_the_dataset_is_an_input(mirror: MakeMirror, client: MlflowClient) -> None:
    facts = DatasetFacts("digits", "scikit-learn", "0123456789abcdef", 1797, 10, {"test": {"0": 9}})
    for _ in range(2):
        study = mirror(opened=False)
        open_parent(study, opening={"datasets": [facts]})
        study.close(status="FINISHED")
    (parent,), _ = runs(client)
    (recorded,) = parent.inputs.dataset_inputs
    assert recorded.dataset.name == "digits"
    assert recorded.dataset.digest == "0123456789abcdef"
    assert json.loads(recorded.dataset.profile)["class_counts"] == {"test": {"0": 9}}


def test_what_is_not_finite_becomes_a_tag(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror()
    start(study, "0", run_name="trial-0000")
    metrics(study, "0", step=1, values={"loss": 1.0, "norm": math.inf}, timestamp_ms=1)
    metrics(study, "0", step=2, values={"loss": math.nan}, timestamp_ms=2)
    study.flush()
    metrics(study, "0", step=3, values={"loss": -math.inf}, timestamp_ms=3)
    study.flush()
    child = runs(client)[1]["0"]
    assert child.data.tags["tlsearch.not_finite"] == "norm@1=inf; loss@2=nan; loss@3=-inf"
    assert history(client, child, "loss") == [(1, 1.0)]


def test_a_long_value_is_cut_where_one_sees_it(mirror: MakeMirror, client: MlflowClient) -> None:
    study = mirror()
    start(study, "0", run_name="n" * 300, params={"a/b": "x" * 7000}, tags={"t": "y" * 9000})
    study.close(status="FINISHED")
    child = runs(client)[1]["0"]
    assert len(child.data.params["a/b"]) == 6000
    assert child.data.params["a/b"].endswith(
        "[cut: 7000 characters, all in artifact long_values/a_b.txt]"
    )
    assert len(child.data.tags["t"]) == 8000
    whole = client.download_artifacts(child.info.run_id, "long_values/a_b.txt")
    assert Path(whole).read_text() == "x" * 7000


def test_a_mirror_that_was_never_opened_closes(mirror: MakeMirror) -> None:
    assert mirror(opened=False).close(status="FINISHED")


def test_a_place_that_cannot_be_written(mirror: MakeMirror, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    study = mirror(opened=False, tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db")
    open_parent(study)
    with pytest.raises(WorkError, match=r"file/mlflow.db cannot be written: .* — make its folder"):
        study.flush()
    run_trial(study, "0")  # the study may go on without
    assert not study.close(status="FINISHED")


def test_a_file_that_is_no_database(mirror: MakeMirror, tmp_path: Path) -> None:
    (tmp_path / "mlflow2.db").write_text("precious text, long enough to be no empty database" * 99)
    study = mirror(opened=False, tracking_uri=f"sqlite:///{tmp_path}/mlflow2.db")
    open_parent(study)
    with pytest.raises(WorkError, match="not a database"):
        study.flush()


def test_a_deleted_experiment(mirror: MakeMirror, client: MlflowClient) -> None:
    client.delete_experiment(client.create_experiment("quickstart"))
    study = mirror(opened=False)
    open_parent(study)
    with pytest.raises(WorkError, match="deleted — bring it back with `MLFLOW_TRACKING_URI=sqlite"):
        study.flush()


def test_importing_the_mirror_imports_no_mlflow() -> None:
    code = "import sys, tlsearch.tracking.mlflow_logger; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_nothing_of_mlflow_reaches_the_terminal(fresh_store: FreshStore) -> None:
    """A new store in a new process is where MLflow migrates, logs and warns the most."""
    assert fresh_store.output == (0, "", "")
    assert {path.name for path in fresh_store.database.parent.iterdir()} <= {
        "mlflow.db",
        "mlflow.db.lock",
        "artifacts",
    }


def test_text_that_utf8_cannot_hold(mirror: MakeMirror, client: MlflowClient) -> None:
    """Names of files may come as lone surrogates."""
    study = mirror()
    start(study, "0", run_name="\udcff", params={"a": "\udcff"}, tags={"b": "\udcff"})
    finish(study, "0", status="FINISHED", artifacts={"c.txt": "\udcff", "d.json": ["\udcff"]})
    assert study.flush()
    assert runs(client)[1]["0"].data.params == {"a": "\\udcff"}


def test_the_experiment_keeps_its_tags(mirror: MakeMirror, client: MlflowClient) -> None:
    for given in ({"primary": "loss", "view": "{}"}, {"view": "[]"}):
        assert mirror(opening={"experiment_tags": given}).flush()
    tags = client.get_experiment_by_name("quickstart").tags
    assert (tags["primary"], tags["view"]) == ("loss", "[]")
