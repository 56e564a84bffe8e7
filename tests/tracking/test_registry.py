"""One registered model a study, one version a model, one alias."""

from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient

from tlsearch.errors import WorkError
from tlsearch.tracking.reconcile import STUDY_TAG
from tlsearch.tracking.registry import ALIAS, Remains, forget, register_model, remains_of

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader")


@pytest.fixture(autouse=True)
def global_address(uri: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """MLflow's database asks the global address for logged models, as `log_model` leaves it."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI", raising=False)
    mlflow.set_tracking_uri(uri)
    yield
    mlflow.set_tracking_uri(None)


@pytest.fixture
def run_id(client: MlflowClient) -> str:
    return str(client.create_run(client.create_experiment("study")).info.run_id)


def logged(client: MlflowClient, run_id: str) -> str:
    experiment = client.get_run(run_id).info.experiment_id
    model = client.create_logged_model(experiment, "model", source_run_id=run_id)
    client.finalize_logged_model(model.model_id, "READY")
    return f"models:/{model.model_id}"


def register(uri: str, model: str, run_id: str, trial: int = 3) -> str:
    tags = {"tlsearch.trial": str(trial)}
    return register_model(tracking_uri=uri, name="digits", model=model, run_id=run_id, tags=tags)


def test_registered_once(
    uri: str, client: MlflowClient, run_id: str, capfd: pytest.CaptureFixture[str]
) -> None:
    model = logged(client, run_id)
    assert register(uri, model, run_id) == register(uri, model, run_id) == "models:/digits@champion"
    (version,) = client.search_model_versions("name = 'digits'")
    assert (version.source, version.run_id, version.status) == (model, run_id, "READY")
    assert version.tags["tlsearch.trial"] == "3"
    assert version.tags["tlsearch.study"] == "digits"
    assert client.get_model_version_by_alias("digits", ALIAS).version == version.version
    assert capfd.readouterr() == ("", "")


def test_after_a_crash_before_the_alias(
    uri: str, client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = logged(client, run_id)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            register(uri, model, run_id)
    register(uri, model, run_id)
    assert len(client.search_model_versions("name = 'digits'")) == 1
    assert client.get_model_version_by_alias("digits", ALIAS).source == model


def test_the_alias_follows_the_champion(uri: str, client: MlflowClient, run_id: str) -> None:
    first, second = logged(client, run_id), logged(client, run_id)
    for model, version in ((first, "1"), (second, "2"), (first, "1")):
        register(uri, model, run_id)
        found = client.get_model_version_by_alias("digits", ALIAS)
        assert (str(found.version), found.source) == (version, model)
    assert len(client.search_model_versions("name = 'digits'")) == 2


def test_a_registered_model_of_somebody_else_is_left_alone(
    uri: str, client: MlflowClient, run_id: str
) -> None:
    client.create_registered_model("digits", tags={"owner": "me"})
    with pytest.raises(WorkError, match="MLflow holds a registered model digits that tlsearch did"):
        register(uri, logged(client, run_id), run_id)
    assert not client.search_model_versions("name = 'digits'")
    assert not client.get_registered_model("digits").aliases


def test_a_model_that_is_not_there(uri: str, run_id: str) -> None:
    with pytest.raises(WorkError, match=r"could not be registered in MLflow at sqlite.* as digits"):
        register(uri, "models:/m-none", run_id)


def test_a_registry_that_is_of_no_known_kind(
    uri: str, client: MlflowClient, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "nowhere://x")
    with pytest.raises(WorkError, match="could not be registered"):
        register(uri, logged(client, run_id), run_id)


def test_what_a_beginning_left_is_found_and_forgotten_but_the_champion_stays(
    uri: str, client: MlflowClient, database: Path
) -> None:
    experiment = client.create_experiment("digits", f"file://{database.parent}/artifacts/digits")
    begun = [
        client.create_run(experiment, tags={STUDY_TAG: key}).info.run_id for key in ("old", "new")
    ]
    lost, kept = (logged(client, begun[0]) for _ in range(2))
    register(uri, lost, begun[0])
    register(uri, kept, begun[0])
    found = remains_of(database, "digits", "old")
    assert found.runs == (begun[0],)
    assert [f"models:/{model}" for model in found.models] == [lost]
    assert found.versions == ("1",)
    assert [path.name for path in found.folders] == [begun[0], found.models[0]]
    forget(database, "digits", found)
    assert [run.info.run_id for run in client.search_runs([experiment])] == [begun[1]]
    assert client.get_model_version_by_alias("digits", ALIAS).source == kept
    assert remains_of(database, "digits", "old") == Remains((), (), (), ())
    assert remains_of(database.parent / "none.db", "digits", "old") == Remains((), (), (), ())
