"""Choosing and confirming, alike in a search and in the cells of a comparison.

The best trials by validation are trained again over seeds, each on its own redraw of what is not
tested; sweeps vary the chosen configuration. In a search this is a race that baselines take part
in: seed by seed those that fall behind drop out, and the best mean over all seeds wins.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any, NamedTuple

from tlsearch.config.cells import Cell, compared
from tlsearch.config.comparison import SweepConfig
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS
from tlsearch.config.space import configuration_key
from tlsearch.errors import shown
from tlsearch.execution.runs import Run, RunRow
from tlsearch.search.baselines import baseline_run, run_of
from tlsearch.search.stop import stopped
from tlsearch.search.store import SEARCH, TEST, Store, cell_of_run


class Candidate(NamedTuple):
    """A configuration to confirm; `trial` is the number of its trial, None where the arm leaves
    nothing to tune.
    """

    trial: int | None
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The winner of the confirmation, by its mean validation value over seeds: a `baseline`, or
    the best trial, whose `number` is there in any case. `champion` is the run whose model is
    exported: that of the first seed, whatever its validation value. Seeds validate on different
    images, so that the best of them would be the luckiest draw.

    `beaten` are the keys of the best trial's runs where a baseline wins, else none.
    """

    number: int
    mean: float
    keys: tuple[str, ...]
    baseline: str = ""
    beaten: tuple[str, ...] = ()

    @property
    def champion(self) -> str:
        """The key of the run whose model is exported."""
        return self.keys[0]


def maximises(config: StudyConfig) -> bool:
    """Whether more of the metric is better."""
    return METRICS[config.search.metric].maximise


def best_first(rows: Sequence[RunRow], *, maximise: bool) -> list[RunRow]:
    """Complete trials of a search from best to worst. Equal accuracies are common where few
    images validate: the smaller loss decides, then the earlier trial.
    """
    return _ranked([row for row in rows if row.run.role == "trial"], maximise=maximise)


def _ranked(rows: Sequence[RunRow], *, maximise: bool) -> list[RunRow]:
    sign = -1 if maximise else 1
    complete = [row for row in rows if row.value is not None]
    return sorted(complete, key=lambda r: (sign * (r.value or 0.0), r.val_loss, r.number))


def best_trial(store: Store) -> tuple[float, Run] | None:
    """The search's best trial so far, after its value; None before one is complete."""
    ranked = best_first(store.trials(), maximise=maximises(store.config))
    if not ranked or ranked[0].value is None:
        return None
    return ranked[0].value, ranked[0].run


# How many trials, and which of them count.


def num_trials(store: Store, cell: Cell) -> int:
    """How many trials a cell is to have: the budget, or all configurations where there are fewer;
    of a search that was stopped those that were begun; 0 where an arm or a tuned baseline leaves
    nothing to search.
    """
    config = store.cells[cell]
    if cell != SEARCH and not config.searched():
        return 0
    if cell == SEARCH and stopped(store) is not None:
        return store.num_begun()
    return config.num_trials()


def trials_left(store: Store, cell: Cell = SEARCH) -> int:
    """How many trials of a cell have no ending yet. Those beyond a budget that was lowered count in
    a search alone: elsewhere they would give one arm more to choose from than others have.
    """
    wanted = num_trials(store, cell)
    ended = store.num_ended(cell) if cell == SEARCH else store.num_ended(cell, below=wanted)
    return max(0, wanted - ended)


def counted_trials(store: Store, cell: Cell) -> list[RunRow]:
    """The trials of a cell that count, by number."""
    rows = store.trials(cell)
    if cell == SEARCH:
        return rows
    wanted = num_trials(store, cell)
    return [row for row in rows if row.number < wanted]


def candidates(store: Store, cell: Cell) -> list[Candidate]:
    """The different configurations of a cell, best first; none before a trial is complete."""
    config = store.cells[cell]
    if cell != SEARCH and not num_trials(store, cell):
        return [Candidate(None, config.assign(_nothing_to_suggest))]
    ranked = _ranked(counted_trials(store, cell), maximise=maximises(config))
    distinct: dict[Hashable, Candidate] = {}
    for row in ranked:
        key = configuration_key(row.run.params)
        distinct.setdefault(key, Candidate(row.number, row.run.params))
    return list(distinct.values())


def chosen(store: Store, cell: Cell) -> Candidate | None:
    """A cell's best configuration by validation."""
    return next(iter(candidates(store, cell)), None)


def _nothing_to_suggest(name: str, _dimension: object) -> Any:
    raise AssertionError(f"{name} is searched, so there is something to tune")


# The runs that follow.


def runs_after(store: Store, cell: Cell) -> list[Run]:
    """All fixed runs that a cell's trials lead to."""
    if cell.scenario:
        best = chosen(store, cell)
        if best is None:
            return []
        found = confirm_runs(store, cell, [best])
        for sweep in compared(store.config).sweeps_in(cell.scenario):
            if sweep.arm == cell.arm:
                found += sweep_runs(store, cell, best, sweep).values()
        return list({run.key: run for run in found}.values())
    if cell != SEARCH:  # a tuned baseline is confirmed beside the search's best
        return []
    race = Race(store)
    return [run for seed in range(1, len(race.rounds) + 1) for run in race.runs_on(seed)]


def confirm_runs(store: Store, cell: Cell, best_few: Sequence[Candidate]) -> list[Run]:
    """Configurations over seeds. A seed redraws which of the images that are not tested train and
    which validate, the head, the order and all else; it is the same for all arms.
    """
    seeds = _seeds(store.cells[cell])
    return [_repeated(store, cell, one, seed) for seed in seeds for one in best_few]


def _seeds(config: StudyConfig) -> range:
    return range(1, config.confirm.seeds + 1)


def sure_baselines(config: StudyConfig) -> list[Run]:
    """What is trained of fixed baselines whatever the trials come to: the probe, which costs next
    to nothing, on every seed of the confirmation, the others on the first three, without which
    their intervals would say little; on the search's own split where nothing is confirmed. None in
    a comparison.
    """
    if config.comparison is not None:
        return []
    seeds = _seeds(config) or (0,)
    return [
        baseline_run(config, name, seed=seed)
        for name, mode in sorted(config.baselines.items(), key=lambda item: item[0] != FREE)
        if mode == "fixed"
        for seed in (seeds if name == FREE else seeds[:_SURE_SEEDS])
    ]


FREE = "linear_probe"
"""The baseline that costs next to nothing."""
_SURE_SEEDS = 3
"""With two, an interval is three times as wide: Student's t has one degree of freedom then."""


def confirmed_baseline(store: Store, name: str, seed: int) -> Run | None:
    """A baseline on a confirmation's seed; of a tuned one its best trial, None without one."""
    cell = Cell("", name)
    if cell not in store.cells:
        return baseline_run(store.config, name, seed=seed)
    best = chosen(store, cell)
    return best and _repeated(store, cell, best, seed)


def _repeated(
    store: Store, cell: Cell, candidate: Candidate, seed: int, *, setting: str = ""
) -> Run:
    """A cell's configuration again on a seed, counted from 1."""
    return run_of(store.cells[cell], cell, *candidate, seed=seed, setting=setting)


def sweep_runs(
    store: Store, cell: Cell, best: Candidate, sweep: SweepConfig
) -> dict[tuple[int, int], Run]:
    """By place of the setting and seed: the chosen configuration with one dimension set.

    Where that changes nothing, it is the confirmation's own run. Empty where the chosen
    configuration has none of the dimensions.
    """
    dimension = swept_dimension(best, sweep)
    confirmed, swept = _seeds(store.cells[cell]), compared(store.config).sweeps.seeds
    found = {}
    for place, value in enumerate(sweep.values) if dimension else ():
        for seed in range(1, swept + 1):
            if seed in confirmed and best.params[dimension] == value:
                found[place, seed] = _repeated(store, cell, best, seed)
                continue
            changed = best._replace(params={**best.params, dimension: value})
            setting = f"{dimension}={shown(value)}"
            found[place, seed] = _repeated(store, cell, changed, seed, setting=setting)
    return found


def swept_dimension(best: Candidate, sweep: SweepConfig) -> str:
    """The first of the sweep's dimensions that the chosen configuration has, or nothing."""
    return next((d for d in sweep.dimension if d in best.params), "")


# The race of a search's best trials and its baselines, its winner, and whether all is done.


class Race:
    """The confirmation of a search as far as it has come. `rounds` are the trials that train on
    each seed: those of a seed are known once all of the seed before have ended. A trial's standing
    counts the value that it was chosen by, which carries as much as that of any seed.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._config = store, store.config
        self._rows = {row.run.key: row for row in store.fixed_rows()}
        self._trials = {row.number: row for row in store.trials()}
        self._sign = -1 if maximises(store.config) else 1
        self.rounds: list[list[Candidate]] = []
        self._first_named: list[list[Candidate]] = []  # for a seed, before any of them failed on it
        field = candidates(store, SEARCH)
        for seed, size in enumerate(self._config.confirm.rounds, start=1):
            racing = [one for one in field if not self._failed(one, seed)][:size]
            if not racing:
                break
            self.rounds.append(racing)
            self._first_named.append(field[:size])
            if any(len(self._completed(one)) < seed for one in racing):
                break
            field = sorted(racing, key=partial(self._standing, seed=seed))

    def runs_on(self, seed: int) -> Iterator[Run]:
        """The runs of a seed that are known: baselines, which take longest, then trials."""
        for name in self._config.baselines:
            run = confirmed_baseline(self._store, name, seed)
            if run is not None and self._goes_on(name, seed):
                yield run
        yield from (self._run(one, seed) for one in self.rounds[seed - 1])

    def finalists(self) -> list[tuple[Candidate, list[RunRow]]]:
        """The trials that completed every seed, best first, with their runs."""
        seeds = _seeds(self._config)
        if not seeds or len(self.rounds) < len(seeds):
            return []
        found = [(one, self._completed(one)) for one in self.rounds[-1]]
        whole = [(one, rows) for one, rows in found if len(rows) == len(seeds)]
        return sorted(whole, key=lambda item: self._standing(item[0], seed=len(seeds)))

    def baseline_rows(self, name: str) -> list[RunRow]:
        """The runs of a baseline from the first seed on, up to one that is not complete."""
        return self._unbroken(partial(confirmed_baseline, self._store, name))

    def mean_of(self, rows: Sequence[RunRow]) -> tuple[float, float]:
        """The mean value of runs, less is better, and that of their losses, which parts equals."""
        values = (self._sign * (row.value or 0.0) for row in rows)
        return fmean(values), fmean(row.val_loss for row in rows)

    def _run(self, one: Candidate, seed: int) -> Run:
        return _repeated(self._store, SEARCH, one, seed)

    def _failed(self, one: Candidate, seed: int) -> bool:
        row = self._rows.get(self._run(one, seed).key)
        return row is not None and row.ended is not None and row.value is None

    def _completed(self, one: Candidate) -> list[RunRow]:
        """The same of a trial."""
        return self._unbroken(partial(self._run, one))

    def _unbroken(self, run_on: Callable[[int], Run | None]) -> list[RunRow]:
        found = []
        for seed in _seeds(self._config):
            run = run_on(seed)
            row = None if run is None else self._rows.get(run.key)
            if row is None or row.value is None:
                break
            found.append(row)
        return found

    def _standing(self, one: Candidate, *, seed: int) -> tuple[float, float]:
        """As it stood after a seed, whatever came later."""
        assert one.trial is not None, "trials race"
        return self.mean_of([self._trials[one.trial], *self._completed(one)[:seed]])

    def _goes_on(self, name: str, seed: int) -> bool:
        """Whether a baseline is trained on a seed: it is no worse than the last of the trials that
        are, on the seeds before; or it has to be.
        """
        if name == FREE or seed <= _SURE_SEEDS:
            return True
        before = self.baseline_rows(name)[: seed - 1]
        if len(before) < seed - 1:
            return False
        others = [self._completed(one)[: seed - 1] for one in self._first_named[seed - 1]]
        return self.mean_of(before) <= max(map(self.mean_of, others))


def choose(store: Store) -> Choice | None:
    """The best of all that completed every seed; None before a trial has. Trials are ranked with
    the value that chose them; beside baselines, which nothing chose, the fresh seeds alone count.
    """
    race = Race(store)
    finalists = race.finalists()
    if not finalists:
        return None
    (best, rows), keys = finalists[0], tuple(row.run.key for row in finalists[0][1])
    assert best.trial is not None, "trials race"
    found = [(race.mean_of(rows), Choice(number=best.trial, mean=_mean(rows), keys=keys))]
    for name in store.config.baselines:
        others = race.baseline_rows(name)
        if len(others) == len(keys):
            its = tuple(row.run.key for row in others)
            won = Choice(
                number=best.trial, mean=_mean(others), keys=its, baseline=name, beaten=keys
            )
            found.append((race.mean_of(others), won))
    return min(found, key=lambda item: item[0])[1]


def _mean(rows: Sequence[RunRow]) -> float:
    return fmean(row.value or 0.0 for row in rows)


BEST_TRIAL = "best_trial"
"""Stands among the baselines where one of them wins."""


def test_record(store: Store) -> Mapping[str, Any]:
    """What the test part said; empty before it was scored."""
    return dict(store.noted(TEST) or {})


def baseline_keys(store: Store, choice: Choice | None) -> dict[str, list[str]]:
    """The keys of each baseline's confirmation, from the first seed on, but for one that wins:
    the best trial then stands in its place.
    """
    race, found = Race(store), dict[str, list[str]]()
    for name in store.config.baselines:
        keys = [row.run.key for row in race.baseline_rows(name)]
        if keys and (choice is None or name != choice.baseline):
            found[name] = keys
    if choice is not None and choice.beaten:
        found[BEST_TRIAL] = list(choice.beaten)
    return found


def is_about(record: Mapping[str, Any], choice: Choice, baselines: Mapping[str, Any]) -> bool:
    """Whether the test part was scored for these very models, the baselines' among them."""
    return (
        bool(record)
        and record["keys"] == list(choice.keys)
        and record.get("baseline_keys") == dict(baselines)
    )


def cell_is_done(store: Store, cell: Cell) -> bool:
    """Whether a cell has nothing left to run."""
    if trials_left(store, cell) or store.num_running(cell):
        return False
    ended = {row.run.key for row in store.fixed_rows(cell.scenario) if row.ended is not None}
    return all(run.key in ended for run in planned_runs(store, cell))


def planned_runs(store: Store, cell: Cell) -> list[Run]:
    """All fixed runs of a cell as far as they are known; of a search those of its baselines that
    are sure first.
    """
    first = sure_baselines(store.config) if cell == SEARCH else []
    return list({run.key: run for run in [*first, *runs_after(store, cell)]}.values())


def is_finished(store: Store) -> bool:
    """Whether nothing is left to do: trials, baselines, confirmation, and in a search the test and
    the model.
    """
    if not all(cell_is_done(store, cell) for cell in store.cells):
        return False
    if store.config.comparison is not None:
        return True
    # What was enqueued for a choice that later trials changed is carried out as well.
    if any(row.ended is None and cell_of_run(row.run) in store.cells for row in store.fixed_rows()):
        return False
    choice, record = choose(store), test_record(store)
    if choice is None:
        return True
    return is_about(record, choice, baseline_keys(store, choice)) and bool(record.get("model"))
