"""What MLflow gets of a finished study: its report, and its best model, logged and registered."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from tlsearch.errors import WorkError, hidden
from tlsearch.tracking.reconcile import KEY_TAG, MAX_TAG_CHARS, PARENT_TAG
from tlsearch.tracking.store import Store, first_line, hush

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from torch import nn


MODEL_KEY_TAG = "tlsearch.model_key"


def log_model(
    module: "nn.Module",
    *,
    tracking_uri: str,
    run_id: str,
    model_key: str,
    metadata: Mapping[str, Any],
    pip_requirements: Sequence[str],
) -> str:
    """Log a model to a run and return its address (`models:/…`); once per `model_key` and run.

    Call it in a process of its own: it imports torch and sets MLflow's global address. `module`
    is in eval mode and maps float32 (N, 3, S, S) to probabilities (N, K); `metadata` tells S as
    `image_size`, and the K `class_names`. The batch size stays free. With a half-logged model of an
    earlier crash it starts afresh.

    Raises:
        WorkError: the store refuses the model, or torch cannot export it.
    """
    hush()
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    try:
        mlflow.set_tracking_uri(tracking_uri)
        client = mlflow.MlflowClient(tracking_uri)
        experiment_id = client.get_run(run_id).info.experiment_id
        ready = _ready_model(client, experiment_id, run_id, model_key)
        if ready is not None:
            return str(ready.model_uri)
        draft = client.create_logged_model(
            experiment_id,
            name="model",
            source_run_id=run_id,
            tags={MODEL_KEY_TAG: model_key},
            params={"num_classes": str(len(metadata["class_names"]))},
            model_type="image-classifier",
        )
        info = Model.log(
            artifact_path=None,
            flavor=_CpuPt2(),
            run_id=run_id,
            model_id=draft.model_id,
            metadata=dict(metadata),
            module=module,
            pip_requirements=list(pip_requirements),
            validate_serving_input=False,  # loads the model again; our tests do, for every change
        )
    except (MlflowException, OSError, RuntimeError) as error:
        raise WorkError(
            f"the model could not be saved in MLflow at {hidden(tracking_uri)}:"
            f" {first_line(error)} — its checkpoint is kept, and running the study"
            " again tries once more"
        ) from error
    return str(info.model_uri)


class _CpuPt2:
    """The flavor that MLflow saves with: its own pt2, bound to the device that it was traced on.

    MLflow loads a pyfunc model to the GPU where there is one, but cannot move a traced model
    there and fails; so the CPU is written down. `mlflow.pytorch.load_model` is not affected.
    """

    def save_model(
        self,
        path: str,
        mlflow_model: Any,
        module: "nn.Module",
        pip_requirements: list[str],
        validate_serving_input: bool,  # noqa: ARG002 — MLflow hands on what it was given
    ) -> None:
        import mlflow.pytorch
        import numpy as np
        import torch
        from mlflow.models import infer_signature
        from mlflow.models.model import MLMODEL_FILE_NAME

        size = mlflow_model.metadata["image_size"]
        # An example of one image would fix the batch size at one.
        batch = np.zeros((2, 3, size, size), dtype=np.float32)
        with torch.inference_mode():
            probabilities = module(torch.from_numpy(batch)).numpy()
        mlflow.pytorch.save_model(
            module,
            path,
            mlflow_model=mlflow_model,
            signature=infer_signature(batch, probabilities),
            input_example=batch,
            pip_requirements=pip_requirements,
            serialization_format="pt2",
        )
        mlflow_model.flavors["python_function"]["config"] = {"device": "cpu"}
        mlflow_model.save(f"{path}/{MLMODEL_FILE_NAME}")


def _ready_model(
    client: "MlflowClient", experiment_id: str, run_id: str, model_key: str
) -> "LoggedModel | None":
    """The model that is logged already; what a crash left half-logged is deleted."""
    found: LoggedModel | None = None
    for model in client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'"):
        if model.tags.get(MODEL_KEY_TAG) != model_key:
            continue
        if str(model.status) == "READY" and found is None:
            found = model
        else:
            client.delete_logged_model(model.model_id)
    return found


# A study's winners in MLflow's model registry: one registered model a study, one alias.


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


# What a study that was set aside left in the database of its folder.


class Remains(NamedTuple):
    """Ids of runs and logged models, versions of the registered model, and all their folders."""

    runs: tuple[str, ...]
    models: tuple[str, ...]
    versions: tuple[str, ...]
    folders: tuple[Path, ...]


def remains_of(database: Path, experiment: str, study_key: str) -> Remains:
    """What MLflow's database holds of one beginning of a study. The registered model that is the
    champion stays until there is another, and so does what it was made from.
    """
    hush()
    from mlflow import MlflowClient

    client = MlflowClient(_address(database)) if database.exists() else None
    found = client.get_experiment_by_name(experiment) if client is not None else None
    if client is None or found is None:
        return Remains((), (), (), ())
    number = found.experiment_id
    runs = [run.run_id for run in Store(client, number).runs(study_key)]
    versions = [v for v in _versions(client, experiment) if v.run_id in runs]
    aliases = client.get_registered_model(experiment).aliases if versions else {}
    champion = [v for v in versions if str(v.version) == str(aliases.get(ALIAS))]
    spared = {v.tags.get(MODEL_TAG, "").rpartition("/")[2] for v in champion}
    models = [
        model
        for model in client.search_logged_models([number])
        if model.source_run_id in runs and model.model_id not in spared
    ]
    places = [client.get_run(run).info.artifact_uri for run in runs]
    places += [model.artifact_location for model in models]
    return Remains(
        tuple(runs),
        tuple(model.model_id for model in models),
        tuple(str(v.version) for v in versions if v not in champion),
        tuple(Path(unquote(urlsplit(place).path)).parent for place in places),
    )


def forget(database: Path, experiment: str, remains: Remains) -> None:
    """Put runs and models into MLflow's bin, which `mlflow gc` empties, and delete versions; their
    folders are left to the caller.
    """
    from mlflow import MlflowClient

    client = MlflowClient(_address(database))
    for version in remains.versions:
        client.delete_model_version(experiment, version)
    for model in remains.models:
        client.delete_logged_model(model)
    for run in remains.runs:
        client.delete_run(run)


def _address(database: Path) -> str:
    return f"sqlite:///{database.as_posix()}"


# What a study found, where MLflow's users look: a description and the report's page.


FIGURES = "figures"
"""The folder of a study's pictures among its artifacts."""

_NOTE = "mlflow.note.content"
_DIGEST = "tlsearch.note_digest"
"""Tag with the digest of the description that was written last: another one is a user's own."""


def publish(
    *,
    tracking_uri: str,
    run_id: str,
    text: str,
    report: Path,
    figures: Mapping[str, bytes],
    children: Mapping[str, Mapping[str, bytes]],
) -> None:
    """Make `text` (Markdown) the description of a run and of its experiment, and attach the page,
    the study's `figures` by file name, and the files of `children` by the child's key.

    A description that somebody has changed since stays as it is. Takes seconds: MLflow's import.

    Raises:
        WorkError: the store does not take it.
    """
    hush()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        client = MlflowClient(tracking_uri)
        run = client.get_run(run_id)
        experiment = client.get_experiment(run.info.experiment_id)
        client.log_artifact(run_id, str(report))
        _attach(client, run_id, figures, folder=FIGURES)
        for child, files in _found(client, run, children):
            _attach(client, child, files, folder=None)
        _describe(text, run.data.tags, partial(client.set_tag, run_id))
        where = partial(client.set_experiment_tag, experiment.experiment_id)
        _describe(text, experiment.tags, where)
    except (MlflowException, OSError) as error:
        raise WorkError(
            f"the report could not be added to MLflow at {hidden(tracking_uri)}"
            f" ({first_line(error)}); it is written all the same: {report}"
        ) from error


def _attach(
    client: "MlflowClient", run_id: str, files: Mapping[str, bytes], *, folder: str | None
) -> None:
    if not files:
        return
    with TemporaryDirectory() as draft:
        for name, content in files.items():
            (Path(draft) / name).write_bytes(content)
        client.log_artifacts(run_id, draft, folder)


def _found(
    client: "MlflowClient", parent: "Run", children: Mapping[str, Mapping[str, bytes]]
) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    """The runs that these keys name; a key has no quotes, or its run is left out."""
    for key, files in children.items():
        words = {PARENT_TAG: parent.info.run_id, KEY_TAG: key}
        if "'" not in key:
            query = " and ".join(f"tags.`{tag}` = '{word}'" for tag, word in words.items())
            for run in client.search_runs([parent.info.experiment_id], query, max_results=1):
                yield run.info.run_id, files


def _describe(text: str, tags: Mapping[str, str], write: Callable[[str, str], object]) -> None:
    known = tags.get(_NOTE)
    if known and digest(known) != tags.get(_DIGEST):
        return
    if len(text) > MAX_TAG_CHARS:  # the page among the artifacts has the rest
        text = text[: MAX_TAG_CHARS - 80].rpartition("\n\n")[0] + "\n\n… the report has the rest."
    write(_NOTE, text)
    write(_DIGEST, digest(text))


def digest(text: str) -> str:
    """Tells a text that tlsearch wrote from one that somebody has changed since."""
    return sha256(text.encode()).hexdigest()[:16]
