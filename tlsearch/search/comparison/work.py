"""What is to be done next in a scenario, and how much there is in all."""

from collections.abc import Mapping

from tlsearch.search.comparison.specs import choose, fixed_specs
from tlsearch.search.ledger import Ledger, Run
from tlsearch.study.cells import Cell
from tlsearch.study.plan import num_tuning

_OPEN = ("running", "waiting")


class ScenarioWork:
    """Hands out the runs of a scenario's cells: those that wait, tuning, and what tuning leads to.

    What a run computes does not depend on the order in which runs are handed out.
    """

    def __init__(self, ledgers: Mapping[Cell, Ledger]) -> None:
        self._ledgers = ledgers
        self._led_on: set[Cell] = set()

    def next_run(self) -> Run | None:
        """The next run, or None while there is none."""
        for cell, ledger in self._ledgers.items():
            if cell not in self._led_on and tuning_left(ledger) == 0 and not ledger.num_running():
                chosen = choose(ledger.config, ledger.rows_of(ledger.search))
                ledger.enqueue(fixed_specs(ledger.config, chosen) if chosen else [])
                self._led_on.add(cell)
            waiting = ledger.ask_fixed()
            if waiting is not None:
                return waiting
        for ledger in self._ledgers.values():
            if tuning_left(ledger) > ledger.num_running():
                return ledger.ask()
        return None


def tuning_left(ledger: Ledger) -> int:
    """Tuning trials of a cell without an ending."""
    wanted = num_tuning(ledger.config)
    trials = ledger.search.get_trials(deepcopy=False)
    return wanted - sum(t.number < wanted and t.state.is_finished() for t in trials)


def is_done(ledger: Ledger) -> bool:
    """Whether a cell has nothing left to run."""
    if tuning_left(ledger):
        return False
    chosen = choose(ledger.config, ledger.rows_of(ledger.search))
    if chosen is None:
        return True
    ended = {r.spec.key for r in ledger.rows_of(ledger.fixed) if r.state not in _OPEN}
    return all(spec.key in ended for spec in fixed_specs(ledger.config, chosen))


def num_done(ledger: Ledger) -> int:
    """Runs of a cell that have an ending, but for those of a choice that later trials changed."""
    tried = num_tuning(ledger.config) - tuning_left(ledger)
    chosen = choose(ledger.config, ledger.rows_of(ledger.search))
    if tuning_left(ledger) or chosen is None:
        return tried
    ended = {r.spec.key for r in ledger.rows_of(ledger.fixed) if r.state not in _OPEN}
    return tried + sum(spec.key in ended for spec in fixed_specs(ledger.config, chosen))
