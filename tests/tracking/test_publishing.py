"""A study's answer as MLflow's descriptions, and its page among the artifacts."""

from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tlsearch.errors import WorkError
from tlsearch.tracking import registry
from tlsearch.tracking.reconcile import MAX_TAG_CHARS

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")
NOTE = "mlflow.note.content"


@pytest.fixture
def run_id(client: MlflowClient, tmp_path: Path) -> str:
    where = (tmp_path / "kept").as_uri()
    return str(client.create_run(client.create_experiment("study", where)).info.run_id)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text("<p>1")
    return path


def publish(**given: Any) -> None:
    registry.publish(**({"figures": {}, "children": {}} | given))


def notes(client: MlflowClient, run_id: str) -> tuple[str, str]:
    """Of the run and of its experiment."""
    run = client.get_run(run_id)
    experiment = client.get_experiment(run.info.experiment_id)
    return run.data.tags[NOTE], experiment.tags[NOTE]


def test_the_newest_answer_is_shown(
    client: MlflowClient, uri: str, run_id: str, page: Path, tmp_path: Path
) -> None:
    publish(tracking_uri=uri, run_id=run_id, text="## one", report=page)
    assert notes(client, run_id) == ("## one", "## one")
    page.write_text("<p>2")
    publish(tracking_uri=uri, run_id=run_id, text="## two", report=page)
    assert notes(client, run_id) == ("## two", "## two")
    (kept,) = client.list_artifacts(run_id)
    assert kept.path == "report.html"
    assert [p.read_text() for p in (tmp_path / "kept").rglob("report.html")] == ["<p>2"]


def test_what_a_user_wrote_stays(client: MlflowClient, uri: str, run_id: str, page: Path) -> None:
    publish(tracking_uri=uri, run_id=run_id, text="## one", report=page)
    client.set_tag(run_id, NOTE, "mine")
    publish(tracking_uri=uri, run_id=run_id, text="## two", report=page)
    assert notes(client, run_id) == ("mine", "## two")


def test_a_long_answer_is_cut_between_paragraphs(
    client: MlflowClient, uri: str, run_id: str, page: Path
) -> None:
    text = "\n\n".join(f"paragraph {i} " + "x" * 500 for i in range(40))
    publish(tracking_uri=uri, run_id=run_id, text=text, report=page)
    for note in notes(client, run_id):
        body, _, last = note.rpartition("\n\n")
        assert MAX_TAG_CHARS - 700 < len(note) <= MAX_TAG_CHARS
        assert text.startswith(body + "\n\n")
        assert last == "… the report has the rest."
    publish(tracking_uri=uri, run_id=run_id, text="short", report=page)
    assert notes(client, run_id) == ("short", "short")


def test_a_run_that_is_gone(uri: str, page: Path) -> None:
    with pytest.raises(WorkError, match="the report could not be added to MLflow at sqlite:"):
        publish(tracking_uri=uri, run_id="0" * 32, text="## one", report=page)


def test_pictures_stand_beside_the_study_and_its_trials(
    client: MlflowClient, uri: str, run_id: str, page: Path, tmp_path: Path
) -> None:
    experiment = client.get_run(run_id).info.experiment_id
    tags = {"mlflow.parentRunId": run_id, "tlsearch.key": "trial-0001"}
    child = client.create_run(experiment, tags=tags).info.run_id
    stranger = client.create_run(experiment, tags={"tlsearch.key": "trial-0001"}).info.run_id
    publish(
        tracking_uri=uri,
        run_id=run_id,
        text="## one",
        report=page,
        figures={"history.png": b"a picture"},
        children={"trial-0001": {"confusion.png": b"counts"}, "trial-0009": {}, "it's": {}},
    )
    assert [f.path for f in client.list_artifacts(run_id, "figures")] == ["figures/history.png"]
    assert [f.path for f in client.list_artifacts(child)] == ["confusion.png"]
    assert client.list_artifacts(stranger) == []
    (file,) = (tmp_path / "kept").rglob("confusion.png")
    assert file.read_bytes() == b"counts"
