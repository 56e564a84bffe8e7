"""What a study tells of its stages before their first run."""

from types import SimpleNamespace
from typing import Any

from tests.search.conftest import Study
from tests.search.fakes import drive, memory_ledger
from tlsearch.search.confirm import best_trial
from tlsearch.search.events import Notice, StageStarted
from tlsearch.search.runner import _search


def test_a_search_that_goes_on_knows_its_best_trial(study: Study) -> None:
    ledger, told = memory_ledger(study()), list[Notice]()
    coordinator: Any = SimpleNamespace(carry_out=lambda _next_run: None)
    _search(ledger, coordinator, told.append, 1)
    assert best_trial(ledger.config, ledger.rows()) is None
    for value in (0.4, 0.7, 0.5):
        drive(ledger, ledger.ask(), [value] * 3)
    _search(ledger, coordinator, told.append, 1)
    stages = [notice for notice in told if isinstance(notice, StageStarted)]
    best = next(row for row in ledger.rows() if row.number == 1 and row.run.role == "trial")
    assert [(stage.done, stage.best) for stage in stages] == [(0, None), (3, (0.7, best.run))]
