"""A study's winners in MLflow's model registry: one registered model a study, one alias."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from tlsearch.errors import WorkError
from tlsearch.study.values import hidden
from tlsearch.tracking.opening import first_line, hush

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
STUDY_TAG, MODEL_TAG = "tlsearch.study", "tlsearch.model"
_WAIT_SECONDS = 60  # for a server that copies the model; a database has it at once


def register_model(
    *, tracking_uri: str, name: str, model: str, run_id: str, tags: Mapping[str, str]
) -> str:
    """Make the logged `model` (`models:/…`) the champion of the registered model `name`, and return
    that address. A model is registered once, however often this is called or cut off.

    Raises:
        WorkError: there is no registry, it refuses, or the name is another's.
    """
    hush()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri)
        _ready_name(client, name)
        found = next((v for v in _versions(client, name) if v.tags.get(MODEL_TAG) == model), None)
        if found is None:
            found = client.create_model_version(
                name,
                model,
                run_id=run_id,
                tags={**tags, STUDY_TAG: name, MODEL_TAG: model},
                await_creation_for=_WAIT_SECONDS,
                model_id=model.rpartition("/")[2],
            )
        client.set_registered_model_alias(name, ALIAS, found.version)
    except (MlflowException, OSError) as error:
        raise WorkError(
            f"the model could not be registered in MLflow at {hidden(tracking_uri)} as {name}: "
            f"{first_line(error)}"
        ) from error
    return f"models:/{name}@{ALIAS}"


def _ready_name(client: "MlflowClient", name: str) -> None:
    """Create the registered model, or make sure that it is ours."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, tags={STUDY_TAG: name})
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "ALREADY_EXISTS"):
            raise
        if STUDY_TAG not in client.get_registered_model(name).tags:
            raise WorkError(
                f"the model was not registered: MLflow holds a registered model {name} that "
                "tlsearch did not make, and its versions are left alone"
            ) from None


def _versions(client: "MlflowClient", name: str) -> "Iterator[ModelVersion]":
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        yield from (version for version in page if version.status == "READY")
        token = page.token
        if not token:
            return
