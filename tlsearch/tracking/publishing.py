"""What a study found, where MLflow's users look: a description and the report's page."""

from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path

from tlsearch.errors import WorkError
from tlsearch.study.values import hidden
from tlsearch.tracking.opening import first_line, hush
from tlsearch.tracking.records import MAX_TAG_CHARS

_NOTE = "mlflow.note.content"
_DIGEST = "tlsearch.note_digest"
"""Tag with the digest of the description that was written last: another one is a user's own."""


def publish(*, tracking_uri: str, run_id: str, text: str, report: Path) -> None:
    """Make `text` (Markdown) the description of a run and of its experiment, and attach the page.

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
        _describe(text, run.data.tags, partial(client.set_tag, run_id))
        where = partial(client.set_experiment_tag, experiment.experiment_id)
        _describe(text, experiment.tags, where)
    except (MlflowException, OSError) as error:
        raise WorkError(
            f"the report could not be added to MLflow at {hidden(tracking_uri)}"
            f" ({first_line(error)}); it is written all the same: {report}"
        ) from error


def _describe(text: str, tags: Mapping[str, str], write: Callable[[str, str], object]) -> None:
    known = tags.get(_NOTE)
    if known and _digest(known) != tags.get(_DIGEST):
        return
    if len(text) > MAX_TAG_CHARS:  # the page among the artifacts has the rest
        text = text[: MAX_TAG_CHARS - 80].rpartition("\n\n")[0] + "\n\n… the report has the rest."
    write(_NOTE, text)
    write(_DIGEST, _digest(text))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
