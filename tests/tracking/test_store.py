"""The columns of MLflow's table of runs, in the words of MLflow's own page."""

import json
import shutil
from pathlib import Path
from urllib.parse import unquote

from mlflow import MlflowClient

from tests.search.conftest import Study
from tests.tracking.conftest import FreshStore
from tlsearch.tracking.store import experiment_view, former_places, settle_in, view_of


def test_the_best_run_is_on_top_and_every_column_has_its_kind(study: Study) -> None:
    tags = experiment_view(study("search.metric=val_loss", "space.dropout=[0.0, 0.5]"))
    assert tags["mlflow.experiment.primaryMetric.name"] == "val_loss"
    state = json.loads(tags["mlflow.sharedViewState.tlsearch"])
    assert state["selectedColumns"] == [
        "metrics.`val_loss`",
        "metrics.`val_accuracy`",
        "params.`lr`",
        "params.`dropout`",
        "tags.`tlsearch.kind`",
        "tags.`tlsearch.state`",
        "attributes.`Duration`",
    ]
    assert state["columnOrder"] == ["attributes.`Run Name`", *state["selectedColumns"]]
    assert set(state["columnWidths"]) == set(state["columnOrder"])
    assert (state["orderByKey"], state["orderByAsc"]) == ("metrics.`val_loss`", True)


def test_a_copied_folder_names_its_own_place(fresh_store: FreshStore, tmp_path: Path) -> None:
    before, now = fresh_store.database.parent, tmp_path / "ü 1" / "new"
    shutil.copytree(before, now)
    database, artifacts = now / "mlflow.db", now / "artifacts"
    assert former_places(database, artifacts) == [before]
    assert settle_in(database, artifacts) == [before]
    assert former_places(database, artifacts) == settle_in(database, artifacts) == []
    client = MlflowClient(f"sqlite:///{database}")
    experiments = client.search_experiments()
    runs = client.search_runs([one.experiment_id for one in experiments])
    places = [one.artifact_location for one in experiments]
    places += [run.info.artifact_uri for run in runs]
    files = [Path(unquote(at.removeprefix("file://"))) for at in places if at.startswith("file:")]
    assert len(files) == 3
    assert all(file.is_relative_to(now) for file in files)
    (parent,) = (run for run in runs if "mlflow.parentRunId" not in run.data.tags)
    (file,) = artifacts.rglob("a.txt")
    file.write_text("the copy")
    assert Path(client.download_artifacts(parent.info.run_id, "a.txt")).read_text() == "the copy"
    assert former_places(fresh_store.database, before / "artifacts") == []  # as it was


def test_a_database_elsewhere_is_no_folder_of_ours(fresh_store: FreshStore, tmp_path: Path) -> None:
    shutil.copy(fresh_store.database, tmp_path / "mlflow.db")
    assert not settle_in(tmp_path / "mlflow.db", tmp_path / "new" / "artifacts")
    # One that was copied without its artifacts is ours.
    (tmp_path / "new").mkdir()
    (tmp_path / "mlflow.db").rename(tmp_path / "new" / "mlflow.db")
    found = former_places(tmp_path / "new" / "mlflow.db", tmp_path / "new" / "artifacts")
    assert found == [fresh_store.database.parent]


def test_an_address_names_a_view_that_is_there(study: Study) -> None:
    tags = experiment_view(study())
    assert view_of(tags.keys()) == "tlsearch"
    assert view_of({"mlflow.note.content"}) is None
