"""The report of a search as one HTML file."""

from itertools import chain
from typing import Any, NamedTuple

from tlsearch.report import networks
from tlsearch.report.answer import find_answer, gain_rows, status
from tlsearch.report.difficulty import difficulty
from tlsearch.report.figures.gallery import pictures
from tlsearch.report.likeness import likeness
from tlsearch.report.page import render_page
from tlsearch.report.provenance import REPEAT, cost_text, machine_text
from tlsearch.report.rows import ReportData
from tlsearch.report.wording import duration, plain, setting_text, value_text
from tlsearch.search.runs import RunRow

OPEN_ROWS = 60
"""Longer tables are shown folded."""


class TableRow(NamedTuple):
    """A run in a table, all as text."""

    name: str
    state: str
    value: str
    epochs: str
    took: str
    settings: tuple[str, ...]
    reason: str
    is_best: bool


def render_html(data: ReportData) -> str:
    """The whole page; every text of a user is escaped."""
    answer = find_answer(data)
    shown = pictures(data)
    return render_page(
        "report.html.j2",
        drawn=chain.from_iterable(section.values() for section in shown.values()),
        pictures=shown,
        data=data,
        answer=answer,
        gain_rows=gain_rows(answer),
        status=status(data),
        settings=tuple(data.space),
        network_head=networks.HEAD,
        network_rows=networks.table(data),
        network_verdict=networks.verdict(data),
        trials=[_trial(row, data) for row in data.trials],
        fixed=[_fixed(row, data) for row in data.fixed],
        open_rows=OPEN_ROWS,
        metric=plain(data.summary.metric),
        difficulty=[*difficulty(data), likeness(data)],
        cost=cost_text(data.provenance),
        machine=machine_text(data.provenance),
        repeat=REPEAT,
    )


def _trial(row: RunRow, data: ReportData) -> TableRow:
    best = data.summary.best
    return TableRow(
        name=str(row.number),
        settings=tuple(
            setting_text(row.spec.params[name]) if name in row.spec.params else ""
            for name in data.space
        ),
        is_best=best is not None and row.number == best.number,
        **_common(row, data),
    )


def _fixed(row: RunRow, data: ReportData) -> TableRow:
    return TableRow(name=row.spec.label, settings=(), is_best=False, **_common(row, data))


def _common(row: RunRow, data: ReportData) -> dict[str, Any]:
    return {
        "state": row.state,
        "value": value_text(row.value, data.summary.metric),
        "epochs": f"{len(row.epochs)} of {row.spec.total_epochs}",
        "took": duration(row.seconds) if row.epochs else "–",
        "reason": row.reason,
    }
