"""The truth about a study: two Optuna studies, one that samples and one that holds fixed runs.

Baselines and confirmations stand in a study of their own, so that the sampler never sees them and
they do not count towards `budget.trials`; everything else about a run is the same.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import TrialState

from tlsearch.config.cells import cell_of
from tlsearch.config.resolved import identity
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import Wilcoxon
from tlsearch.config.seeds import derive_seed
from tlsearch.execution.runs import Ending, Run, RunRow
from tlsearch.search.runs import (
    RESULT,
    RUN,
    aside_name,
    attributes,
    fixed_name,
    lookup,
    read_rows,
    read_spec,
    result_json,
    search_spec,
    spec_json,
)
from tlsearch.search.samplers import make_pruner, make_sampler, should_stop, suggest_with
from tlsearch.search.storage import refuse_changes
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

(
    IDENTITY,
    FACTS,
    AUDIT,
    KEY,
    MLFLOW,
    MIRRORED,
    TEST,
    PUBLISHED,
    NETWORKS,
    ORIGIN,
    NOTED,
    LIKENESS,
) = (
    f"tlsearch:{part}"
    for part in (
        *("identity", "facts", "audit", "key", "mlflow", "mirrored", "test", "published"),
        *("networks", "origin", "noted", "likeness"),
    )
)
"""User attributes of a study: what may not change, what was found before the first trial, what the
audit found, which beginning of the study this is, where its mirror stands and whether it is whole,
what the test part said, which answer the dashboards show, what each of several networks promised,
how it was run and with what, the digest of its note in Optuna Dashboard, how much its images look
like the source's.
"""
_OPEN = (TrialState.RUNNING, TrialState.WAITING)


@dataclass(frozen=True)
class _Claim:
    """A run whose trial is RUNNING until it is told or paused. `reported` holds the steps that the
    store knows, those before an interruption included: epochs, or folds where there are several.
    """

    run: Run
    trial: optuna.Trial
    study: optuna.Study
    reported: set[int]

    @property
    def by_folds(self) -> bool:
        """Whether its steps are folds."""
        return len(self.run.folds) > 1


class Ledger:
    """Asks, reports and tells. Every change is on disk when a method returns.

    Raises:
        StoreError: the study was begun as another one, or is not tlsearch's.
        KeyError: it has not been started, and may not be created.
    """

    def __init__(
        self, config: StudyConfig, storage: optuna.storages.BaseStorage, *, create: bool = True
    ) -> None:
        self.config, self._storage, self._create = config, storage, create
        self._maximise = config.search.metric == "val_accuracy"
        self._identity = identity(config)
        self._claims: dict[str, _Claim] = {}
        self.search = self._open(config.name)
        self.fixed = self._open(fixed_name(config.name))
        # Before its first run a study may become another: what failed so far was preparation.
        if self.has_begun():
            for study in (self.search, self.fixed):
                refuse_changes(study.study_name, study.user_attrs.get(IDENTITY), self._identity)

    def _open(self, name: str) -> optuna.Study:
        known = {s.study_name for s in self._storage.get_all_studies()}
        if name in known or not self._create:
            study = optuna.load_study(study_name=name, storage=self._storage)
        else:
            direction = StudyDirection.MAXIMIZE if self._maximise else StudyDirection.MINIMIZE
            study = optuna.create_study(study_name=name, storage=self._storage, direction=direction)
        if IDENTITY not in study.user_attrs and not study.get_trials(deepcopy=False):
            # A new one, or one whose coordinator was killed between the making and these lines.
            if not self._create:
                raise KeyError(name)
            self._begin(study)
        study.pruner = make_pruner(self.config)
        return study

    def _begin(self, study: optuna.Study) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([self.config.search.metric])  # else it is `Objective 0`
        study.set_user_attr(KEY, uuid4().hex)
        study.set_user_attr(IDENTITY, self._identity)

    def adopt(self) -> None:
        """Take this study's settings for those that it is started with, if they are not: no run
        has begun, or the ledger would not have opened.
        """
        if any(s.user_attrs[IDENTITY] != self._identity for s in (self.search, self.fixed)):
            for study in (self.search, self.fixed):
                self._begin(study)

    def has_begun(self) -> bool:
        """Whether there is any run, of whatever state."""
        return any(study.get_trials(deepcopy=False) for study in (self.search, self.fixed))

    @property
    def key(self) -> str:
        """Tells this beginning of the study from others of the same name."""
        return str(self.search.user_attrs[KEY])

    def given_up(self) -> str | None:
        """The key of the beginning of this study that was set aside last, if there is one."""
        prefix = aside_name(self.config.name, "")
        aside = {s.study_name: s for s in self._storage.get_all_studies()}
        names = [name for name in aside if name.startswith(prefix)]
        return str(aside[max(names)].user_attrs[KEY]) if names else None

    def num_ended(self) -> int:
        """Trials of the search that have an ending."""
        trials = self.search.get_trials(deepcopy=False)
        return sum(trial.state.is_finished() for trial in trials)

    def num_running(self) -> int:
        """Trials of the search that are under way."""
        return len(self.search.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))

    def num_open(self) -> int:
        """Runs of both studies without an ending, under way or waiting."""
        studies = (self.search, self.fixed)
        return sum(len(s.get_trials(deepcopy=False, states=_OPEN)) for s in studies)

    def recover(self) -> int:
        """Put back in the queue what a killed coordinator left RUNNING; how many there were."""
        left = 0
        for study in (self.search, self.fixed):
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)
                left += 1
        return left

    def ask(self) -> Run:
        """The next trial of the search: one that waits to go on, or a newly sampled one."""
        study = self.search
        # After a reload a sampler would repeat its draws: its seed depends on how far we are.
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        number = waiting[0].number if waiting else len(study.get_trials(deepcopy=False))
        study.sampler = make_sampler(self.config, seed=self._sampler_seed(number))
        trial = study.ask()
        try:  # what goes on has all its values
            params = self.config.assign(lookup(trial.params))
        except KeyError:
            params = self.config.assign(suggest_with(trial))
        return self._claimed(search_spec(self.config, trial.number, params), trial, study)

    def _sampler_seed(self, number: int) -> int:
        """In a comparison all arms of a scenario draw alike, and each scenario anew."""
        cell = cell_of(self.config)
        place = [cell.scenario] if cell else []
        return derive_seed(self.config.search.seed, "sampler", *place, number) % 2**32

    def enqueue(self, specs: Sequence[Run]) -> None:
        """Add fixed runs that are not there yet."""
        known = {row.run.key for row in self.rows_of(self.fixed)}
        for spec in specs:
            if spec.key not in known:
                self.fixed.enqueue_trial({}, user_attrs={RUN: spec_json(spec)})

    def ask_fixed(self) -> Run | None:
        """The next fixed run that waits, or None."""
        if not self.fixed.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            return None
        trial = self.fixed.ask()
        return self._claimed(read_spec(trial.user_attrs[RUN]), trial, self.fixed)

    def _claimed(self, run: Run, trial: optuna.Trial, study: optuna.Study) -> Run:
        stored = self._storage.get_trial(trial._trial_id)
        self._claims[run.key] = _Claim(run, trial, study, set(stored.intermediate_values))
        return run

    def report(self, run: Run, result: EpochResult, *, fold: FoldResult | None) -> bool:
        """Record an epoch, or the fold that it ends; whether the run is to be pruned. What is
        repeated is not recorded twice, and decides nothing but when it is the last known.

        Where there are folds, a pruner judges whole folds alone: by the mean so far, or by the
        fold itself where it compares trials fold by fold.
        """
        claim = self._claims[run.key]
        if claim.by_folds and fold is None:
            return False
        step, value = self._point(result, fold if claim.by_folds else None)
        if step not in claim.reported:
            claim.trial.report(value, step)
            claim.reported.add(step)
        if fold is not None and fold.fold == len(run.folds):
            return False  # all is paid for: its value counts
        is_last = step == max(claim.reported)
        return run.role == "trial" and is_last and should_stop(claim.trial)

    def _point(self, result: EpochResult, fold: FoldResult | None) -> tuple[int, float]:
        """The step and the value that a pruner sees."""
        metric = self.config.search.metric
        if fold is None:
            return result.epoch, getattr(result, metric)
        alone = isinstance(self.config.search.pruner, Wilcoxon)
        return fold.fold, getattr(fold, metric if alone else f"mean_{metric}")

    def tell(
        self, run: Run, ending: Ending, result: TrainResult | None, *, reason: str
    ) -> float | None:
        """Record how a run ended, and return its value if it is complete.

        A diverged trial is told as pruned: the sampler then avoids its neighbourhood, where it
        would forget a failed one.
        """
        claim = self._claims.pop(run.key)
        for name, shown in attributes(run, ending, result, reason).items():
            claim.trial.set_user_attr(name, shown)
        claim.trial.set_user_attr(RESULT, result_json(ending, result, reason))
        state = {
            "complete": TrialState.COMPLETE,
            "pruned": TrialState.PRUNED,
            "diverged": TrialState.PRUNED,
            "failed": TrialState.FAIL,
        }[ending]
        value: float | None = None
        if ending == "complete":
            assert result is not None
            value = result.value(self.config.search.metric)
        # The grid sampler's own hook wants to stop an `optimize` loop, and there is none.
        claim.study.sampler = optuna.samplers.RandomSampler()
        claim.study.tell(claim.trial, value, state)
        return value

    def pause(self, run: Run) -> None:
        """Put a run back in the queue; it goes on from its checkpoint."""
        claim = self._claims.pop(run.key)
        self._storage.set_trial_state_values(claim.trial._trial_id, TrialState.WAITING)

    def rows(self) -> list[RunRow]:
        """All runs, read in bulk: the search's trials, then the fixed runs."""
        return [*self.rows_of(self.search), *self.rows_of(self.fixed)]

    def rows_of(self, study: optuna.Study) -> list[RunRow]:
        """The runs of one of the two studies, by number."""
        return list(read_rows(self.config, study))


def is_started(name: str, storage: optuna.storages.BaseStorage) -> bool:
    """Whether a ledger of this name can be opened without writing anything."""
    named = {s.study_name for s in storage.get_all_studies() if IDENTITY in s.user_attrs}
    return {name, fixed_name(name)} <= named


def existing_ledger(config: StudyConfig, storage: optuna.storages.BaseStorage) -> Ledger | None:
    """The ledger of a study that was started, opened without writing; None if there is none.

    Raises:
        StoreError: the study was begun as another one.
    """
    if not is_started(config.name, storage):
        return None
    try:
        return Ledger(config, storage, create=False)
    except KeyError:  # set aside since we looked
        return None
