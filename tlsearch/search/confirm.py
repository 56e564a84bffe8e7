"""Choosing and confirming, alike in a search and in the cells of a comparison.

The best trials by validation are trained again over seeds, each on its own redraw of what is not
tested; sweeps vary the chosen configuration. In a search the best mean over seeds wins.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
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
from tlsearch.search.store import SEARCH, TEST, Store


class Candidate(NamedTuple):
    """A configuration to confirm; `trial` is the number of its trial, None where the arm leaves
    nothing to tune.
    """

    trial: int | None
    params: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The winner of the confirmation, by its mean validation value over seeds. `champion` is the
    run whose model is exported: that of the first seed, whatever its validation value. Seeds
    validate on different images, so that the best of them would be the luckiest draw.
    """

    number: int
    mean: float
    keys: tuple[str, ...]

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
    0 where an arm or a tuned baseline leaves nothing to search.
    """
    config = store.cells[cell]
    if cell != SEARCH and not config.searched():
        return 0
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
    """The best few different configurations of a cell, best first; none before a trial is
    complete.
    """
    config = store.cells[cell]
    if cell != SEARCH and not num_trials(store, cell):
        return [Candidate(None, config.assign(_nothing_to_suggest))]
    ranked = _ranked(counted_trials(store, cell), maximise=maximises(config))
    distinct: dict[Hashable, Candidate] = {}
    for row in ranked:
        key = configuration_key(row.run.params)
        distinct.setdefault(key, Candidate(row.number, row.run.params))
    return list(distinct.values())[: config.confirm.top]


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
    runs: list[Run] = []
    best_few = candidates(store, cell)
    for seed in _seeds(store.config) if best_few else ():  # an early stop leaves whole seeds
        runs += [_repeated(store, SEARCH, candidate, seed) for candidate in best_few]
        baselines = (confirmed_baseline(store, name, seed) for name in store.config.baselines)
        runs += [run for run in baselines if run is not None]
    return runs


def confirm_runs(store: Store, cell: Cell, best_few: Sequence[Candidate]) -> list[Run]:
    """Configurations over seeds. A seed redraws which of the images that are not tested train and
    which validate, the head, the order and all else; it is the same for all arms.
    """
    seeds = _seeds(store.cells[cell])
    return [_repeated(store, cell, one, seed) for seed in seeds for one in best_few]


def _seeds(config: StudyConfig) -> range:
    return range(1, config.confirm.seeds + 1)


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


# The winner of a search, and whether all is done.


def choose(store: Store) -> Choice | None:
    """The candidate of a search with the best mean over all seeds; None if none completed them."""
    config = store.config
    values = {row.run.key: row.value for row in store.fixed_rows() if row.value is not None}
    found = []
    for candidate in candidates(store, SEARCH):
        keys = [run.key for run in confirm_runs(store, SEARCH, [candidate])]
        if keys and candidate.trial is not None and values.keys() >= set(keys):
            mean = fmean(values[key] for key in keys)
            found.append(Choice(number=candidate.trial, mean=mean, keys=tuple(keys)))
    pick = max if maximises(config) else min
    return pick(found, key=lambda choice: choice.mean) if found else None


def test_record(store: Store) -> Mapping[str, Any]:
    """What the test part said; empty before it was scored."""
    return dict(store.noted(TEST) or {})


def baseline_keys(store: Store) -> dict[str, list[str]]:
    """The keys of each baseline's confirmation, of those that completed every seed."""
    complete = {row.run.key for row in store.fixed_rows() if row.state == "complete"}
    found: dict[str, list[str]] = {}
    for name in store.config.baselines:
        runs = [confirmed_baseline(store, name, seed) for seed in _seeds(store.config)]
        keys = [run.key for run in runs if run is not None]
        if len(keys) == len(runs) and complete.issuperset(keys):
            found[name] = keys
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
    """All fixed runs of a cell as far as they are known; of a search its fixed baselines first."""
    first = []
    if cell == SEARCH:
        first = [
            baseline_run(store.config, name, seed=0)
            for name, mode in store.config.baselines.items()
            if mode == "fixed"
        ]
    return [*first, *runs_after(store, cell)]


def is_finished(store: Store) -> bool:
    """Whether nothing is left to do: trials, baselines, confirmation, and in a search the test and
    the model.
    """
    if not all(cell_is_done(store, cell) for cell in store.cells):
        return False
    if store.config.comparison is not None:
        return True
    # What was enqueued for a choice that later trials changed is carried out as well.
    if any(row.ended is None for row in store.fixed_rows()):
        return False
    choice, record = choose(store), test_record(store)
    if choice is None:
        return True
    return is_about(record, choice, baseline_keys(store)) and bool(record.get("model"))
