"""The only door to Optuna's storage, which holds the truth about a study.

Optuna studies of one tlsearch study:

- one for each *cell*: an arm in a scenario, a tuned baseline, or the search itself, which is a
  comparison with one cell. A cell needs one of its own because a sampler learns from all trials
  of its study, trials are counted by number (every arm gets the same), and Optuna demands that a
  parameter has one distribution within a study, while arms are there to have different ones.
- one for each scenario's *fixed runs* (baselines, confirmations, sweeps), whose configuration is
  given: no sampler sees them, they do not count towards `budget.trials`, and `study.ask` hands
  them out in the order in which they were enqueued. Scenarios run one after another on workers
  that hold one data set, so each has a queue of its own.

The study of the user's name keeps the notes of the whole. In a search it is the search's cell.
"""

import math
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from tlsearch.config.cells import Cell, cell_config, cells, compared
from tlsearch.config.portfolio import MOST, Start, starts
from tlsearch.config.resolved import changes, identity
from tlsearch.config.runtime import derive_seed
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS, Grid, Tpe
from tlsearch.config.space import configuration_key
from tlsearch.errors import StoreError
from tlsearch.execution.runs import Ending, Run, RunRow
from tlsearch.search.baselines import run_of, tuned_config
from tlsearch.search.racing import Generation
from tlsearch.search.records import (
    FROM,
    RESULT,
    RUN,
    UNTIL,
    as_pruned,
    read_run,
    result_json,
    row_of,
    run_json,
    shown_attributes,
    step_and_value,
)
from tlsearch.search.samplers import (
    grid_point,
    make_pruner,
    make_sampler,
    new_point,
    point_for,
    stored_values,
    suggest_with,
)
from tlsearch.search.storage import KEY, aside_name, set_trial_state, trial_of
from tlsearch.training.results import EpochResult, FoldResult, TrainResult

LAYOUT_VERSION = 2
"""Of what is stored; a study of another version is refused."""
_PREFIX = "tlsearch:"
# Names of notes.
LAYOUT = "layout"  # the version of what is stored
IDENTITY = "identity"  # what may not change
FACTS = "facts"  # what was found before the first run
AUDIT = "audit"  # what the audit found
MLFLOW = "mlflow"  # where MLflow's mirror stands
MIRRORED = "mirrored"  # whether it is whole
TEST = "test"  # what the test part said
PUBLISHED = "published"  # which answer the dashboards show
NETWORKS = "networks"  # each network's scores
ORIGIN = "origin"  # how the study was run, and with what
NOTED = "noted"  # the digest of its note in Optuna Dashboard
SIMILARITY = "similarity"  # how similar its images are to the source's
SURVEY = "survey"  # what a scenario's data are
SHARES = "shares"  # how evenly its splits draw the classes
STOP = "stop"  # how the search ended early
START = "start"  # what a search from history tries first

_GENERATION = "tlsearch:generation"
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "diverged": TrialState.PRUNED,  # so that the sampler avoids the neighbourhood of a diverged one
    "failed": TrialState.FAIL,
}
SEARCH = Cell("", "")
"""The one cell of a study that only searches."""


@dataclass(frozen=True)
class _Claim:
    """A run under way. `steps` are those that Optuna knows, from before an interruption too:
    epochs, or folds where there are several. `decisions` are the pruner's, if steps come again.
    """

    run: Run
    trial: optuna.Trial
    study: optuna.Study
    steps: set[int]
    decisions: dict[int, bool]

    @property
    def until(self) -> int | None:
        """After which step of a race it pauses; None for the end."""
        return self.trial.user_attrs.get(UNTIL)

    @property
    def row(self) -> RunRow:
        """What the storage holds of it."""
        return row_of(self.run, self.study.get_trials(deepcopy=False)[self.trial.number])


class Store:
    """A study's runs and notes. Every change is on disk when a method returns.

    Raises:
        StoreError: the study was begun with other settings, by another version, or by others.
        KeyError: it has not been started, and may not be created.
    """

    def __init__(
        self, config: StudyConfig, storage: optuna.storages.BaseStorage, *, create: bool = True
    ) -> None:
        self.config, self.storage, self._create = config, storage, create
        self.cells = study_cells(config)
        self._claims: dict[str, _Claim] = {}
        self._rows: dict[tuple[str, int], RunRow] = {}
        self._known = set(optuna.get_all_study_names(storage))
        self.study = self._open(config.name, config)
        self._sampled = {
            cell: self.study if cell == SEARCH else self._open(_sampled_name(config, cell), its)
            for cell, its in self.cells.items()
        }
        scenarios = dict.fromkeys(cell.scenario for cell in self.cells)
        self._fixed = {name: self._open(_fixed_name(config, name), config) for name in scenarios}
        for cell, its in self.cells.items():
            # Before its first run a cell may become another: what failed so far was preparation.
            if self.has_begun(cell):
                self._refuse_changes(cell, its)

    def _open(self, name: str, config: StudyConfig) -> optuna.Study:
        maximise = METRICS[config.search.metric].maximise
        direction = StudyDirection.MAXIMIZE if maximise else StudyDirection.MINIMIZE
        if name in self._known or not self._create:
            study = optuna.load_study(
                study_name=name, storage=self.storage, pruner=make_pruner(config)
            )
        else:
            study = optuna.create_study(
                study_name=name,
                storage=self.storage,
                direction=direction,
                pruner=make_pruner(config),
            )
        attributes = study.user_attrs
        if _PREFIX + IDENTITY in attributes:
            if attributes.get(_PREFIX + LAYOUT) == LAYOUT_VERSION:
                return study
            raise StoreError(
                f"name = {config.name!r}: the study was made by another version of tlsearch, whose "
                "store this one does not read — give this study another name, or start it over "
                "with --fresh"
            )
        if study.get_trials(deepcopy=False):
            raise StoreError(
                f"name = {config.name!r}: the store holds an Optuna study of this name that "
                "tlsearch did not make — give this study another name"
            )
        # A new one, or one whose coordinator was killed between the making and these lines.
        if not self._create:
            raise KeyError(name)
        self._begin(study, config)
        return study

    def _begin(self, study: optuna.Study, config: StudyConfig) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names([config.search.metric])  # else it is `Objective 0`
        # Last the one that marks a study as begun: a kill may come between any two.
        study.set_user_attr(_PREFIX + LAYOUT, LAYOUT_VERSION)
        study.set_user_attr(KEY, uuid4().hex)
        study.set_user_attr(_PREFIX + IDENTITY, identity(config))

    def _refuse_changes(self, cell: Cell, config: StudyConfig) -> None:
        known = self._sampled[cell].user_attrs[_PREFIX + IDENTITY]
        changed = changes(known, identity(config))
        if changed:
            raise StoreError(
                f"{place_of(self.config, cell)}: the study was started with other settings, and "
                "its trials cannot be mixed with new ones:\n"
                + "\n".join(f"  {line}" for line in changed)
                + "\nChange them back to carry on, give the study a new name, or start it over "
                "with --fresh"
            )

    def adopt(self) -> None:
        """Take the settings that the study has now wherever no run has begun."""
        for cell, config in self.cells.items():
            study = self._sampled[cell]
            settings = identity(config)
            if not self.has_begun(cell) and study.user_attrs[_PREFIX + IDENTITY] != settings:
                self._begin(study, config)

    # Notes.

    def note(self, name: str, value: Any, scenario: str = "") -> None:
        """Keep a fact of the whole study, or of one scenario, that JSON can hold."""
        self.study.set_user_attr(_note_name(name, scenario), value)

    def noted(self, name: str, scenario: str = "") -> Any:
        """A fact that was kept, or None."""
        return self.study.user_attrs.get(_note_name(name, scenario))

    @property
    def table(self) -> str | None:
        """The table of the documents that a comparison answers; None in a search."""
        return None if self.config.comparison is None else self.config.comparison.table

    @property
    def key(self) -> str:
        """Tells this beginning of the study from others of the same name."""
        return str(self.study.user_attrs.get(KEY))

    def given_up(self) -> str | None:
        """The key of the beginning of this study that was set aside last, if there is one."""
        prefix = aside_name(self.config.name, "")
        names = [n for n in optuna.get_all_study_names(self.storage) if n.startswith(prefix)]
        if not names:
            return None
        last = optuna.load_study(study_name=max(names), storage=self.storage)
        return str(last.user_attrs[KEY])

    # Handing out.

    @property
    def starts(self) -> list[Start]:
        """What the first trials of a search are to be."""
        is_noted = self.config.search.start == "history"
        return starts(self.config, (self.noted(START) or ()) if is_noted else ())

    def ask(self, cell: Cell = SEARCH, *, learnt: optuna.Study | None = None) -> Run:
        """The next trial of a cell: one that waits to go on, or a newly sampled one. The sampler
        sees the cell's own trials, or those of `learnt`, which then holds the new one as well.
        """
        study, config = self._sampled[cell], self.cells[cell]
        waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        number = waiting[0].number if waiting else len(study.get_trials(deepcopy=False))
        # After a reload a sampler would repeat its draws: its seed depends on how far we are. In a
        # comparison all arms of a scenario draw alike, and each scenario anew.
        place = [cell.scenario] if cell.scenario else []
        seed = derive_seed(config.search.seed, "sampler", *place, number) % 2**32
        first = self.starts if cell == SEARCH and not waiting and number < MOST else []
        start = first[number] if number < len(first) else None
        point = None if waiting else self._point(cell, number, start, seed=seed, learnt=learnt)
        if point is not None:
            study.enqueue_trial(point)
        study.sampler = make_sampler(config, seed=seed)
        trial = study.ask()
        params = config.assign(suggest_with(trial))
        if start is not None:
            trial.set_user_attr(FROM, start.origin)
        return self._claimed(run_of(config, cell, trial.number, params), trial, study)

    def _point(
        self,
        cell: Cell,
        number: int,
        start: Start | None,
        *,
        seed: int,
        learnt: optuna.Study | None,
    ) -> dict[str, Any] | None:
        """The values to give a new trial, all or some; None where they are the sampler's alone."""
        config = self.cells[cell]
        if isinstance(config.search.sampler, Grid):
            # Optuna's own wants to stop an `optimize` loop when it is told of the last point, and
            # there is none.
            return grid_point(config, number)
        given = None if start is None else dict(start.values)
        if learnt is None and (given is not None or config.num_configurations() is None):
            return given  # in a space without end nothing is drawn twice
        known = {configuration_key(row.run.params) for row in self.trials(cell)}
        if learnt is None:
            return point_for(config, self._sampled[cell], self.storage, seed=seed, known=known)
        if given is not None:  # what it leaves open is sampled, among what is to be seen
            learnt.enqueue_trial(given)
        return new_point(config, learnt, seed=seed, known=known)

    # A race: trials that pause at a rung keep their claim, and go on by it.

    def resume(self, cell: Cell, *, until: int | None) -> list[Run]:
        """Claim what an earlier invocation left; those that do not pause. New ones among them
        train `until` this step.
        """
        study, found = self._sampled[cell], []
        while study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            run = self.ask(cell)
            claim = self._claims[run.key]
            if UNTIL not in claim.trial.user_attrs:  # killed before it was written
                claim.trial.set_user_attr(UNTIL, until)
            if claim.row.state != "paused":
                found.append(run)
        return found

    def begin_generation(self, cell: Cell, generation: Generation, until: int | None) -> list[Run]:
        """Claim what trains in a generation, in its order; what of it has begun already is left
        out. The sampler takes trials that pause for pruned ones, and sees them all as they stood
        when the generation was decided on.
        """
        study = self._sampled[cell]
        study.set_user_attr(_GENERATION, [generation.trials, list(generation.go_on.items())])
        open_rows = {row.number: row for row in self.trials(cell) if row.state == "paused"}
        runs = []
        for number, rung in generation.go_on.items():
            row = open_rows.get(number)
            claim = None if row is None else self._claims[row.run.key]
            if claim is not None and claim.until != rung:
                claim.trial.set_user_attr(UNTIL, rung)
                runs.append(claim.run)
        learnt = None
        if isinstance(self.cells[cell].search.sampler, Tpe):  # others do not see what runs
            learnt = optuna.create_study(direction=study.direction)
            learnt.add_trials([as_pruned(t) for t in study.get_trials(deepcopy=False)])
        while len(study.get_trials(deepcopy=False)) < generation.trials:
            run = self.ask(cell, learnt=learnt)
            self._claims[run.key].trial.set_user_attr(UNTIL, until)
            runs.append(run)
        return runs

    def generation(self, cell: Cell) -> Generation | None:
        """The last generation that was begun."""
        noted = self._sampled[cell].user_attrs.get(_GENERATION)
        return None if noted is None else Generation(noted[0], dict(noted[1]))

    def is_due(self, run: Run, steps: int) -> bool:
        """Whether a run that has come as far has come to the rung at which it pauses. What Optuna
        knows of it may be more: a worker that died begins anew, or from an older checkpoint.
        """
        until = self._claims[run.key].until
        return until is not None and steps >= until

    def enqueue(self, runs: Iterable[Run]) -> int:
        """Add fixed runs that are not there yet; how many were added."""
        known = {row.run.key for row in self.fixed_rows()}
        new = {run.key: run for run in runs if run.key not in known}
        for run in new.values():
            self._fixed[run.scenario].enqueue_trial({}, user_attrs={RUN: run_json(run)})
        return len(new)

    def ask_fixed(self, scenario: str = "") -> Run | None:
        """The next fixed run that waits, or None. Those of a cell that was taken out of the study
        wait until it is there again.
        """
        study = self._fixed[scenario]
        for waiting in study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            run = read_run(waiting.user_attrs[RUN])
            if cell_of_run(run) in self.cells:
                self._set_state(study, waiting.number, TrialState.RUNNING)
                trial = trial_of(study, waiting.number, storage=self.storage)
                return self._claimed(run, trial, study)
        return None

    def _claimed(self, run: Run, trial: optuna.Trial, study: optuna.Study) -> Run:
        stored = study.get_trials(deepcopy=False)[trial.number]
        self._claims[run.key] = _Claim(run, trial, study, set(stored.intermediate_values), {})
        return run

    # Recording.

    def report(self, run: Run, result: EpochResult, *, fold: FoldResult | None) -> bool:
        """Record an epoch, or the fold that it ends; whether the run is to be pruned. What is
        repeated is recorded once, and its answer is the same.

        Where there are folds, a pruner judges whole folds alone: by the mean so far, or by the
        fold itself where it compares trials fold by fold. A run that has done all its epochs or
        folds is complete, and is not pruned.
        """
        claim, by_folds = self._claims[run.key], len(run.folds) > 1
        if by_folds and fold is None:
            return False
        config = self.config_of(run)
        step, value = step_and_value(config, result, fold if by_folds else None)
        if step not in claim.steps:
            claim.trial.report(value, step)
            claim.steps.add(step)
        last = len(run.folds) if by_folds else run.num_epochs
        judged = run.role == "trial" or (run.role == "baseline" and run.redraw == 0)
        if not judged or run.trial is None or step >= last or step != max(claim.steps):
            return False
        if step not in claim.decisions:
            claim.decisions[step] = claim.trial.should_prune()
        return claim.decisions[step]

    def tell(self, run: Run, ending: Ending, result: TrainResult | None, *, reason: str) -> RunRow:
        """Record how a run ended; its row then."""
        claim = self._claims.pop(run.key)
        for name, shown in shown_attributes(run, ending, result, reason).items():
            claim.trial.set_user_attr(name, shown)
        before = claim.trial.user_attrs.get(RESULT, {})  # of one that paused
        record = before if result is None else result_json(result)
        claim.trial.set_user_attr(RESULT, {**record, "ending": ending, "reason": reason})
        value: float | None = None
        if ending == "complete":
            assert result is not None
            value = result.value(self.config.search.metric)
        claim.study.tell(claim.trial, value, _STATES[ending])
        return claim.row

    def pause(self, run: Run, result: TrainResult | None) -> RunRow:
        """Put a run back in the queue, or let it pause at its rung; it goes on from its checkpoint.
        Its row then.
        """
        claim = self._claims[run.key]
        if result is not None and self.is_due(run, run.steps(result.epochs, result.folds)):
            claim.trial.set_user_attr(RESULT, result_json(result))
            return claim.row
        del self._claims[run.key]
        self._set_state(claim.study, claim.trial.number, TrialState.WAITING)
        return claim.row

    def row(self, run: Run) -> RunRow:
        """A run under way as a row."""
        return self._claims[run.key].row

    def recover(self) -> int:
        """Put back in the queue what a killed coordinator left RUNNING; how many runs were begun
        and have no ending.
        """
        for study in self._studies():
            for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                self._set_state(study, trial.number, TrialState.WAITING)
        return sum(row.state == "waiting" and row.started is not None for row in self.rows())

    def _set_state(self, study: optuna.Study, number: int, state: TrialState) -> None:
        set_trial_state(self.storage, study.study_name, number, state)

    # Reading.

    def config_of(self, run: Run) -> StudyConfig:
        """The settings of the cell that a run is in."""
        return self.cells[cell_of_run(run)]

    def trials(self, cell: Cell = SEARCH) -> list[RunRow]:
        """The sampled trials of a cell, by number."""
        study, config = self._sampled[cell], self.cells[cell]
        rows = []
        for trial in study.get_trials(deepcopy=False):
            row = self._rows.get((study.study_name, trial.number))
            if row is None:
                try:
                    params = config.assign(stored_values(trial.params))
                except KeyError:
                    continue  # killed while it was sampled: it has no strategy yet
                run = run_of(config, cell, trial.number, params)
                row = self._row(study, run, trial)
            rows.append(row)
        return rows

    def fixed_rows(self, scenario: str | None = None) -> list[RunRow]:
        """The fixed runs, in the order in which they were enqueued; of all scenarios for None."""
        rows = []
        for study in self._fixed.values() if scenario is None else [self._fixed[scenario]]:
            for trial in study.get_trials(deepcopy=False):
                row = self._rows.get((study.study_name, trial.number))
                rows.append(row or self._row(study, read_run(trial.user_attrs[RUN]), trial))
        return rows

    def _row(self, study: optuna.Study, run: Run, trial: FrozenTrial) -> RunRow:
        row = row_of(run, trial)
        if trial.state.is_finished():
            self._rows[study.study_name, trial.number] = row
        return row

    def rows(self) -> list[RunRow]:
        """All runs: every cell's trials, then the fixed runs."""
        return [*(row for cell in self.cells for row in self.trials(cell)), *self.fixed_rows()]

    def has_begun(self, cell: Cell = SEARCH) -> bool:
        """Whether a cell has any run, of whatever state."""
        return bool(self._sampled[cell].get_trials(deepcopy=False)) or any(
            cell_of_run(row.run) == cell for row in self.fixed_rows(cell.scenario)
        )

    def num_ended(self, cell: Cell = SEARCH, *, below: float = math.inf) -> int:
        """Trials of a cell that have an ending; `below` leaves out higher numbers."""
        trials = self._sampled[cell].get_trials(deepcopy=False)
        return sum(t.state.is_finished() and t.number < below for t in trials)

    def num_begun(self, cell: Cell = SEARCH) -> int:
        """Trials of a cell, of whatever state."""
        return len(self._sampled[cell].get_trials(deepcopy=False))

    def num_running(self, cell: Cell = SEARCH) -> int:
        """Trials of a cell that are under way."""
        found = self._sampled[cell].get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return len(found)

    def _studies(self) -> list[optuna.Study]:
        return [*self._sampled.values(), *self._fixed.values()]


# Where a run stands, and the names of Optuna's studies, which nobody parses.


def study_cells(config: StudyConfig) -> dict[Cell, StudyConfig]:
    """Every cell's own settings: of arms in scenarios, or of the search and its tuned baselines."""
    if config.comparison is not None:
        return {cell: cell_config(config, cell) for cell in cells(compared(config))}
    tuned = [name for name, mode in config.baselines.items() if mode == "tuned"]
    return {SEARCH: config, **{Cell("", name): tuned_config(config, name) for name in tuned}}


def cell_of_run(run: Run) -> Cell:
    """The cell that a run is of; that of a fixed baseline is the search's."""
    if run.role == "baseline":
        return Cell("", run.name if run.trial is not None else "")
    return Cell(run.scenario, run.arm)


def place_of(config: StudyConfig, cell: Cell) -> str:
    """A cell as its user knows it."""
    if config.comparison is not None:
        return f"comparison.arms.{cell.arm} in scenario {cell.scenario!r}"
    return f"name = {config.name!r}" + (f", baseline {cell.arm}" if cell.arm else "")


def _sampled_name(config: StudyConfig, cell: Cell) -> str:
    """`:` is in no name that a user gives."""
    return f"{config.name}:{cell.scenario}:{cell.arm}"


def _fixed_name(config: StudyConfig, scenario: str) -> str:
    return f"{config.name}:{scenario or 'fixed'}"


def _note_name(name: str, scenario: str) -> str:
    return f"{_PREFIX}{name}:{scenario}" if scenario else f"{_PREFIX}{name}"


def existing_store(
    config: StudyConfig, storage: optuna.storages.BaseStorage | None
) -> Store | None:
    """The store of a study that was started, opened without writing; None if there is none.

    Raises:
        StoreError: the study was begun with other settings, or by another version.
    """
    if storage is None or not is_started(config.name, storage):
        return None
    try:
        return Store(config, storage, create=False)
    except KeyError:  # set aside since we looked, or an arm that was never run
        return None


def is_started(name: str, storage: optuna.storages.BaseStorage) -> bool:
    """Whether tlsearch began a study of this name in the storage."""
    if name not in optuna.get_all_study_names(storage):
        return False
    attributes = optuna.load_study(study_name=name, storage=storage).user_attrs
    return _PREFIX + IDENTITY in attributes
