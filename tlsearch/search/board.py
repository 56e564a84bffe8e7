"""All cells of a comparison behind one face: a ledger each, and one for what they share."""

from collections.abc import Mapping
from typing import Any

import optuna

from tlsearch.config.cells import Cell, cell_config, cells, compared
from tlsearch.config.comparison import ComparisonConfig
from tlsearch.config.schema import StudyConfig
from tlsearch.execution.runs import Ending, Run, RunRow
from tlsearch.search.ledger import Ledger, is_started
from tlsearch.training.results import EpochResult, FoldResult, TrainResult


class Board:
    """A ledger for each cell, so that arms spend equal trials, and one of the whole comparison,
    which holds no run but what is known of scenarios and the tables.

    Raises:
        StoreError: a cell was begun as another one.
        KeyError: it has not been started, and may not be created.
    """

    def __init__(
        self, config: StudyConfig, storage: optuna.storages.BaseStorage, *, create: bool = True
    ) -> None:
        self.config = config
        self.whole = Ledger(config, storage, create=create)
        self.cells: Mapping[Cell, Ledger] = {
            cell: Ledger(cell_config(config, cell), storage, create=create)
            for cell in cells(compared(config))
        }

    @property
    def comparison(self) -> ComparisonConfig:
        """What is compared."""
        return compared(self.config)

    def adopt(self) -> None:
        """Take this study's settings wherever no run has begun."""
        if not any(ledger.has_begun() for ledger in self.cells.values()):
            self.whole.adopt()
        for ledger in self.cells.values():
            if not ledger.has_begun():
                ledger.adopt()

    def of_scenario(self, scenario: str) -> dict[Cell, Ledger]:
        """The cells of one scenario, in the order of the arms."""
        return {cell: ledger for cell, ledger in self.cells.items() if cell.scenario == scenario}

    def rows(self) -> list[RunRow]:
        """All runs of all cells, read in bulk."""
        return [row for ledger in self.cells.values() for row in ledger.rows()]

    def recover(self) -> None:
        """Put back in the queue what a killed coordinator left RUNNING."""
        for ledger in self.cells.values():
            ledger.recover()

    def report(self, run: Run, result: EpochResult, *, fold: FoldResult | None) -> bool:
        """Record an epoch of a cell's run."""
        return self._of(run).report(run, result, fold=fold)

    def tell(
        self, run: Run, ending: Ending, result: TrainResult | None, *, reason: str
    ) -> float | None:
        """Record how a cell's run ended."""
        return self._of(run).tell(run, ending, result, reason=reason)

    def pause(self, run: Run) -> None:
        """Put a cell's run back in its queue."""
        self._of(run).pause(run)

    def note(self, name: str, value: Any) -> None:
        """Keep a fact of the whole comparison."""
        self.whole.search.set_user_attr(f"tlsearch:{name}", value)

    def noted(self, name: str) -> Any:
        """A fact that was kept, or None."""
        return self.whole.search.user_attrs.get(f"tlsearch:{name}")

    def _of(self, run: Run) -> Ledger:
        return self.cells[Cell(run.scenario, run.arm)]


def existing_board(config: StudyConfig, storage: optuna.storages.BaseStorage) -> Board | None:
    """The board of a comparison that was started, opened without writing; None if there is none.

    Raises:
        StoreError: a cell was begun as another one.
    """
    names = [config.name]
    names += [cell_config(config, cell).name for cell in cells(compared(config))]
    if not all(is_started(name, storage) for name in names):
        return None
    try:
        return Board(config, storage, create=False)
    except KeyError:  # set aside since we looked
        return None
