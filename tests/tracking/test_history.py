"""Earlier searches in a tracking store."""

from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.tracking.conftest import MakeMirror, open_parent
from tlsearch.errors import WorkError
from tlsearch.tracking.history import earlier_searches

VIEW = {"mlflow.sharedViewState.tlsearch": "{}"}


def make(
    mirror: MakeMirror, key: str, *, start_ms: int, kind: str = "study", experiment: str = "a"
) -> None:
    """A study whose parent run began at that moment."""
    one = mirror(opened=False, experiment=experiment, study_key=key)
    tags = {"tlsearch.kind": kind, "tlsearch.history": f"of {key}"}
    open_parent(one, tags=tags, start_ms=start_ms, opening={"experiment_tags": VIEW})
    assert one.close(status="FINISHED")


def test_searches_are_found_the_latest_first(
    mirror: MakeMirror, uri: str, client: MlflowClient
) -> None:
    make(mirror, "k1", start_ms=100)
    make(mirror, "k2", start_ms=300)
    make(mirror, "k3", start_ms=200, experiment="b")
    make(mirror, "k4", start_ms=400, experiment="b", kind="comparison")
    make(mirror, "k5", start_ms=500, experiment="c")
    client.delete_experiment(client.get_experiment_by_name("c").experiment_id)
    # Of somebody else's, though it looks like ours.
    client.create_run(
        client.create_experiment("others"), tags={"tlsearch.kind": "study"}, start_time=600
    )
    found = earlier_searches(uri)
    assert [(one.study_key, one.experiment) for one in found] == [
        ("k2", "a"),
        ("k3", "b"),
        ("k1", "a"),
    ]
    assert found[0].tags["tlsearch.history"] == "of k2"
    client.delete_run(found[0].run_id)
    assert [one.study_key for one in earlier_searches(uri)] == ["k3", "k1"]


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    assert earlier_searches(f"sqlite:///{tmp_path}/none/mlflow.db") == []
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(WorkError, match="cannot be read"):
        earlier_searches(f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(WorkError, match=r"MLflow at http://\S*127\.0\.0\.1:9 cannot be read"):
        earlier_searches("http://me:secret@127.0.0.1:9")
