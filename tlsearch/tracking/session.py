"""What the mirror's thread does: one study's runs in one open store, and what is known of them.

Everything goes through MLflow's public client, some 20 ms a trial.
"""

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from tlsearch.errors import hidden
from tlsearch.tracking.reconcile import (
    CLOSED,
    KEY_TAG,
    PARENT,
    PARENT_TAG,
    STUDY_TAG,
    DatasetFacts,
    Known,
    Wanted,
    missing,
    one_run_per_key,
)
from tlsearch.tracking.store import Store, first_line, open_store

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

    def open(
        self,
        parent: Wanted,
        datasets: Sequence[DatasetFacts],
        children: Sequence[Wanted] | None,
        experiment_tags: Mapping[str, str],
        abandoned: str | None,
    ) -> None:
        """Open the store, create the parent or re-open the one that is there, and make its children
        those of the truth; as a whole once more after an outage.
        """
        if self._store is None:
            self._store = open_store(
                tracking_uri=self._tracking_uri,
                artifact_root=self._artifact_root,
                experiment=self._experiment,
            )
        client, experiment_id = self._store
        # What a parent is created with: a key, and a place where somebody deleted it.
        self._parent = replace(parent, artifacts={})
        truth = None if children is None else {child.key: child for child in children}
        with _outages():
            self._look(self._store, truth=truth)
            self._write_run(self._store, parent)
            for facts in datasets:
                _log_dataset(self._store, self._known[PARENT].run_id, facts)
            known = client.get_experiment(experiment_id).tags
            for name, value in experiment_tags.items():
                if known.get(name) != value:
                    client.set_experiment_tag(experiment_id, name, value)
            # By its key: on a server that is shared, a study of the same name may be at work
            # elsewhere.
            for run in self._store.runs(abandoned) if abandoned else ():
                if run.status not in CLOSED:
                    client.set_tag(run.run_id, "tlsearch.state", "superseded")
                    client.set_terminated(run.run_id, "KILLED")
        self.write(dict(truth or {}))

    def write(self, batch: dict[str, Wanted]) -> None:
        """Write a batch, taking out of it whatever is safe or refused for good.

        Raises:
            OutageError: something is left in the batch.
        """
        if not batch:
            return
        assert self._store is not None
        if self._doubtful:  # see first what arrived all the same
            with _outages():
                self._look(self._store)
            self._doubtful = False
        refused: OutageError | None = None
        for key in sorted(batch, key=lambda k: k != PARENT):
            if self._rejections[key] <= _MAX_REJECTIONS:
                try:
                    with _outages():
                        self._write_run(self._store, batch[key])
                except OutageError as outage:
                    self._doubtful = True
                    if not outage.rejected:
                        raise
                    if not self._is_given_up(key, outage):
                        refused = outage
                        continue
            del batch[key]
        if refused is not None:
            raise refused

    def _is_given_up(self, key: str, outage: OutageError) -> bool:
        self._rejections[key] += 1
        if self._rejections[key] <= _MAX_REJECTIONS:
            return False
        self.notices.append(
            f"MLflow at {hidden(self._tracking_uri)} refuses {key or 'the parent run'!r}"
            f" ({outage}). The study goes on without it there, and running it again"
            " completes MLflow"
        )
        if key in self._known and self._store is not None:  # it was created, and must not stay open
            with suppress(OutageError), _outages():
                self._store.client.set_terminated(self._known[key].run_id, "KILLED")
        return True

    def _write_run(self, store: Store, wanted: Wanted) -> None:
        """Write what a run lacks; a closing status comes last, after artifacts and metrics."""
        from mlflow.entities import Metric, Param, RunTag

        client, key = store.client, wanted.key
        known = self._known.get(key)
        if known is None:
            name, identity = wanted.run_name or key, self._identity(key)
            info = client.create_run(
                store.experiment_id, start_time=wanted.start_ms or 0, tags=identity, run_name=name
            ).info
            known = Known(info.run_id, info.status, info.start_time, {}, identity, {})
            self._known[key] = known
        lacks = missing(wanted, known, identity=self._identity(key))
        if lacks is None:
            return
        for path, text in lacks.artifacts.items():
            client.log_text(known.run_id, text, path)
        client.log_batch(
            known.run_id,
            metrics=[Metric(p.name, p.value, p.timestamp_ms, p.step) for p in lacks.points],
            params=[Param(name, value) for name, value in lacks.params.items()],
            tags=[RunTag(name, value) for name, value in lacks.tags.items()],
        )
        if lacks.status in CLOSED:
            client.set_terminated(known.run_id, lacks.status, lacks.end_ms)
        elif lacks.status is not None:
            client.update_run(known.run_id, status=lacks.status)
        self._known[key] = known.after(lacks)

    def _look(self, store: Store, truth: Mapping[str, Wanted] | None = None) -> None:
        """Learn what MLflow holds; a run that was created twice (an answer was lost) goes, and with
        a truth whatever mirrors none of it.
        """
        kept, deleted = one_run_per_key(store.runs(self._study_key), truth=truth)
        for run in deleted:
            store.client.delete_run(run.run_id)
        self._known = kept
        if PARENT not in kept:  # a new study, or somebody deleted it
            self._write_run(store, self._parent)

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
