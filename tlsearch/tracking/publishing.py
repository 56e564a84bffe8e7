"""What a study found, where MLflow's users look: a description and the report's page."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tlsearch.config.values import hidden
from tlsearch.errors import WorkError
from tlsearch.tracking.reconcile import KEY_TAG, MAX_TAG_CHARS, PARENT_TAG
from tlsearch.tracking.store import first_line, hush

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


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
            asked = " and ".join(f"tags.`{tag}` = '{word}'" for tag, word in words.items())
            for run in client.search_runs([parent.info.experiment_id], asked, max_results=1):
                yield run.info.run_id, files


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
