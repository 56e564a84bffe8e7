"""Rows and reports made by hand from those of a made-up study."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from tlsearch.execution.runs import RunRow
from tlsearch.report.context import SearchReport

BEGAN = datetime(2026, 1, 1, 12)


def with_rows(data: SearchReport, rows: Sequence[RunRow]) -> SearchReport:
    """The report of these rows; complete ones ranked by accuracy."""
    complete = [r for r in rows if r.run.role == "trial" and r.value is not None]
    ranked = sorted(complete, key=lambda r: r.value or 0.0, reverse=True)
    best = ranked[0] if ranked else None
    summary = replace(data.summary, rows=tuple(rows), best=best)
    return replace(data, summary=summary, ranked=tuple(ranked))


def search_row(data: SearchReport, number: int, **changes: Any) -> RunRow:
    """A trial of the search; `params` are what was sampled."""
    row = next(r for r in data.trials if r.state == "complete")
    params = changes.pop("params", dict(row.sampled))
    run = replace(row.run, trial=number, params={**row.run.params, **params})
    return replace(row, run=run, number=number, sampled=params, **changes)


def at(row: RunRow, start: float, end: float, **changes: Any) -> RunRow:
    """The row with its seconds on the clock."""
    began, ended = (BEGAN + timedelta(seconds=seconds) for seconds in (start, end))
    return replace(row, started=began, ended=ended, **changes)
