"""What the mirror's thread does: one study's runs in one open store, and what is known of them."""

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tlsearch.config.values import hidden
from tlsearch.tracking.reconcile import (
    KEY_TAG,
    PARENT,
    PARENT_TAG,
    STUDY_TAG,
    Change,
    DatasetFacts,
    Known,
    Plan,
    Wanted,
    agree,
    difference,
    one_run_per_key,
)
from tlsearch.tracking.store import Store, first_line, open_store
from tlsearch.tracking.writers import CLOSED

_MAX_REJECTIONS = 2
_PASSING = ("TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR", "REQUEST_LIMIT_EXCEEDED", "ABORTED")


class OutageError(Exception):
    """The store did not take something; trying again may help."""

    def __init__(self, message: str, *, rejected: bool) -> None:
        super().__init__(message)
        self.rejected = rejected


class Session:
    """Everything here runs in one thread, but for the notices and ids that others read."""

    def __init__(
        self, *, tracking_uri: str, artifact_root: Path | None, experiment: str, study_key: str
    ) -> None:
        self.notices: deque[str] = deque()
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root
        self._experiment = experiment
        self._study_key = study_key
        self._store: Store | None = None
        self._known: dict[str, Known] = {}
        self._parent = Wanted(PARENT)
        self._mine: set[str] = set()
        self._doubtful = False
        self._rejections: Counter[str] = Counter()

    @property
    def experiment_id(self) -> str | None:
        """MLflow's id of the experiment, None before the store is open."""
        return self._store.experiment_id if self._store else None

    def run_id(self, key: str) -> str | None:
        """MLflow's id of a run, None before it is written."""
        known = self._known.get(key)
        return known.run_id if known else None

    def open(self, parent: Wanted, datasets: Sequence[DatasetFacts]) -> None:
        """Open the store and create the parent, or re-open the one that is there."""
        if self._store is None:
            self._store = open_store(
                tracking_uri=self._tracking_uri,
                artifact_root=self._artifact_root,
                experiment=self._experiment,
            )
        self._parent = parent
        with _outages():
            self._look(self._store)
            self._write_together(self._store, {PARENT: parent})
            for facts in datasets:
                _log_dataset(self._store, self._known[PARENT].run_id, facts)

    def tag_experiment(self, tags: Mapping[str, str]) -> None:
        """Give the experiment tags; those of the same name are replaced."""
        assert self._store is not None
        with _outages():
            client, where = self._store.client, self._store.experiment_id
            known = client.get_experiment(where).tags
            for name, value in tags.items():
                if known.get(name) != value:
                    client.set_experiment_tag(where, name, value)

    def reconcile(self, truth: Mapping[str, Wanted]) -> None:
        """Make the children those of `truth` and those written by this session, nothing else."""
        assert self._store is not None
        with _outages():
            plan = agree(
                self._store.runs(self._study_key),
                truth={key: wanted.params for key, wanted in truth.items()},
                protected=self._mine,
            )
            self._accept(self._store, plan)
            self._write_together(self._store, dict(truth))

    def abandon(self, study_key: str) -> None:
        """End what a study set aside by `--fresh` left open. By its key: on a server that is
        shared, a study of the same name may be at work elsewhere.
        """
        assert self._store is not None
        with _outages():
            for run in self._store.runs(study_key):
                if run.status not in CLOSED:
                    self._store.client.set_tag(run.run_id, "tlsearch.state", "superseded")
                    self._store.client.set_terminated(run.run_id, "KILLED")

    def write(self, batch: dict[str, Wanted]) -> None:
        """Write a batch, taking out of it whatever is safe or refused for good.

        Raises:
            OutageError: something is left in the batch.
        """
        if not batch:
            return
        assert self._store is not None
        for key in [key for key in batch if self._rejections[key] > _MAX_REJECTIONS]:
            del batch[key]
        self._mine |= batch.keys() - {PARENT}
        if self._doubtful:
            self._write_singly(self._store, batch)
            return
        try:
            with _outages():
                self._write_together(self._store, batch)
        except OutageError:
            self._doubtful = True
            raise

    def _write_together(self, store: Store, batch: dict[str, Wanted]) -> None:
        def acknowledge(change: Change, known: Known) -> None:
            self._known[change.key] = known
            del batch[change.key]

        changes = []
        for key in sorted(batch, key=lambda k: k != PARENT):
            change = difference(batch[key], self._known.get(key), identity=self._identity(key))
            if change is None:
                del batch[key]
            else:
                changes.append(change)
        store.writer.write(changes, acknowledge)

    def _write_singly(self, store: Store, batch: dict[str, Wanted]) -> None:
        """After a failure: see first what arrived all the same, then find what is refused."""
        with _outages():
            self._look(store)
        refused: OutageError | None = None
        for key in sorted(batch, key=lambda k: k != PARENT):
            single = {key: batch[key]}
            try:
                with _outages():
                    self._write_together(store, single)
            except OutageError as outage:
                if not outage.rejected:
                    raise
                refused = outage
                self._reject(key, outage)
            if not single or self._rejections[key] > _MAX_REJECTIONS:
                del batch[key]
        self._doubtful = refused is not None
        if refused is not None and batch:
            raise refused

    def _reject(self, key: str, outage: OutageError) -> None:
        self._rejections[key] += 1
        if self._rejections[key] > _MAX_REJECTIONS:
            self.notices.append(
                f"MLflow at {hidden(self._tracking_uri)} refuses {key or 'the parent run'!r}"
                f" ({outage}). The study goes on without it there, and running it again"
                " completes MLflow"
            )

    def _look(self, store: Store) -> None:
        """Learn what MLflow holds; a run that was created twice (an answer was lost) goes."""
        self._accept(store, one_run_per_key(store.runs(self._study_key)))

    def _accept(self, store: Store, plan: Plan) -> None:
        for run in plan.deleted:
            store.client.delete_run(run.run_id)
        self._known = plan.kept
        if PARENT not in self._known:  # a new study, or somebody deleted it
            self._write_together(store, {PARENT: self._parent})

    def _identity(self, key: str) -> dict[str, str]:
        if key == PARENT:
            return {STUDY_TAG: self._study_key}
        parent = self._known[PARENT].run_id
        return {STUDY_TAG: self._study_key, KEY_TAG: key, PARENT_TAG: parent}


@contextmanager
def _outages() -> Iterator[None]:
    """Turn what a store may raise into an `OutageError`; defects pass through."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        raise OutageError(first_line(error), rejected=error.error_code not in _PASSING) from error
    except OSError as error:
        raise OutageError(first_line(error), rejected=False) from error


def _log_dataset(store: Store, run_id: str, facts: DatasetFacts) -> None:
    """Record the dataset as an input of the parent; recording it twice changes nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    profile = {
        "num_images": facts.num_images,
        "num_classes": facts.num_classes,
        "class_counts": facts.class_counts,
    }
    dataset = Dataset(
        name=facts.name,
        digest=facts.digest[:36],
        source_type="code",  # MLflow's word for "not a file that can be fetched again"
        source=json.dumps({"tags": {"source": facts.source}}),
        profile=json.dumps(profile),
    )
    inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
    store.client.log_inputs(run_id, datasets=inputs)
