"""Writes changes through MLflow's public client, which serves every store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tlsearch.tracking.records import Change, Known

if TYPE_CHECKING:
    from mlflow import MlflowClient

Acknowledge = Callable[[Change, Known], None]

CLOSED = ("FINISHED", "FAILED", "KILLED")


class Writer(Protocol):
    """Writes changes in order; a closing status comes last, after artifacts and metrics."""

    def write(self, changes: Sequence[Change], acknowledge: Acknowledge) -> None:
        """Write all, calling `acknowledge` for each that is safe; may raise half-way."""


class ClientWriter:
    """MLflow's public client: three calls a run, right for servers and every database."""

    def __init__(self, *, client: "MlflowClient", experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id

    def write(self, changes: Sequence[Change], acknowledge: Acknowledge) -> None:
        """Write one run after the other."""
        from mlflow.entities import Metric, Param, RunTag

        for change in changes:
            run_id, artifact_uri = self._run_of(change)
            write_artifacts(self._client, run_id, artifact_uri, change)
            self._client.log_batch(
                run_id,
                metrics=[Metric(p.name, p.value, p.timestamp_ms, p.step) for p in change.points],
                params=[Param(name, value) for name, value in change.params.items()],
                tags=[RunTag(name, value) for name, value in change.tags.items() if change.known],
            )
            if change.status in CLOSED:
                self._client.set_terminated(run_id, change.status, change.end_ms)
            elif change.status is not None and (change.known or change.status != "RUNNING"):
                self._client.update_run(run_id, status=change.status)
            acknowledge(change, change.applied(run_id=run_id, artifact_uri=artifact_uri))

    def _run_of(self, change: Change) -> tuple[str, str]:
        if change.known:
            return change.known.run_id, change.known.artifact_uri
        info = self._client.create_run(
            self._experiment_id,
            start_time=change.start_ms,
            tags=dict(change.tags),
            run_name=change.run_name,
        ).info
        return info.run_id, info.artifact_uri


def write_artifacts(client: "MlflowClient", run_id: str, artifact_uri: str, change: Change) -> None:
    """Write a run's files: straight to a local folder, else through MLflow's repository."""
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import is_local_uri

    if not change.artifacts:
        return
    local = is_local_uri(artifact_uri)  # type: ignore[no-untyped-call]
    for name, text in change.artifacts.items():
        if local:
            folder = local_file_uri_to_path(artifact_uri)  # type: ignore[no-untyped-call]
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        else:
            client.log_text(run_id, text, name)
