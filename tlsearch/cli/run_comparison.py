"""What the commands do where a study compares: run, status, report and check."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from tlsearch.cli.check import refuse_unclaimed
from tlsearch.cli.request import not_started
from tlsearch.config.paths import Layout, layout_here, write_text
from tlsearch.config.schema import StudyConfig

if TYPE_CHECKING:
    from tlsearch.search.board import Board


Format = Literal["html", "md", "json", "csv"]


def run(config: StudyConfig, *, fresh: bool, asked: str, as_json: bool, open_report: bool) -> None:
    """Carry the comparison on to its end, write its report and print its tables."""
    refuse_unclaimed(config)
    from tlsearch.cli.console import show_tables
    from tlsearch.cli.run import following
    from tlsearch.cli.watching import watching

    started = time.monotonic()
    follow = following(config, wanted=open_report)
    with follow, watching(config, to_stderr=as_json) as watch:
        from tlsearch.search.comparison_run import run_comparison

        layout = layout_here()
        board = run_comparison(config, layout=layout, fresh=fresh, watch=watch)
    report = write_report(board, layout, "html", None)
    _publish(board, layout, report)
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(json.dumps({**_found(board, layout), "report": str(report), "seconds": seconds}))
        return
    from tlsearch.search.collect import tables_of

    console = Console(highlight=False)
    show_tables(tables_of(board, layout.study(config.name)), console)
    console.print()
    for line in _next_steps(board, layout, report, asked):
        console.print(line, soft_wrap=True)
    console.print(f"\n{_counts(board)}; {seconds:.0f} s", soft_wrap=True)


def _publish(board: "Board", layout: Layout, page: Path) -> None:
    from tlsearch.report.markdown import render_answer
    from tlsearch.report.stills import comparison_stills
    from tlsearch.search.champion import publish
    from tlsearch.search.collect import tables_of

    tables = tables_of(board, layout.study(board.config.name))
    trouble = publish(
        board.whole,
        layout,
        text=render_answer(tables),
        report=page,
        draw=lambda: comparison_stills(tables),
    )
    if trouble is not None:
        typer.echo(f"note: {trouble}", err=True)


def status(config: StudyConfig, *, as_json: bool, asked: str) -> None:
    """Tell where a comparison stands; creates nothing."""
    from tlsearch.search.comparison_run import is_done
    from tlsearch.search.storage import is_running

    layout = layout_here()
    board = existing(config, asked)
    running = is_running(layout.study(config.name))
    if as_json:
        typer.echo(json.dumps({**_found(board, layout), "running": running}))
        return
    console = Console(highlight=False)
    finished = all(map(is_done, board.cells.values()))
    state = "running" if running else "finished" if finished else "not finished"
    console.print(f"[bold]{escape(config.name)}[/bold]: {state}; {_counts(board)}")
    for scenario in board.comparison.used:
        done = [cell.arm for cell, led in board.of_scenario(scenario).items() if is_done(led)]
        total = len(board.comparison.arms_in(scenario))
        console.print(f"  {escape(scenario)}: {len(done)} of {total} arms done", soft_wrap=True)
    if not running and not finished:
        console.print(f"carry on with: tlsearch run {escape(asked)}", soft_wrap=True)


def report(config: StudyConfig, *, kind: Format, output: Path | None, asked: str) -> Path:
    """Write what a comparison found so far as one file."""
    return write_report(existing(config, asked), layout_here(), kind, output)


def write_report(board: "Board", layout: Layout, kind: Format, output: Path | None) -> Path:
    """The tables in one of the formats; where they were written."""
    from tlsearch.search.collect import tables_of

    tables = tables_of(board, layout.study(board.config.name))
    if kind == "json":
        text = json.dumps(_found(board, layout), indent=2, ensure_ascii=False) + "\n"
    elif kind == "csv":
        from tlsearch.comparison.answers import tables_csv

        text = tables_csv(tables)
    elif kind == "md":
        from tlsearch.report.markdown import render_markdown

        text = render_markdown(tables)
    else:
        from tlsearch.report.html import render_html

        text = render_html(tables)
    path = output or layout.study(board.config.name) / f"report.{kind}"
    write_text(path, text)
    return path


def existing(config: StudyConfig, asked: str) -> "Board":
    """The board of a comparison that was started; creates nothing."""
    from tlsearch.search.board import existing_board
    from tlsearch.search.storage import open_storage

    storage = open_storage(config, layout_here(), create=False)
    board = existing_board(config, storage) if storage is not None else None
    if board is None:
        raise not_started(config.name, asked)
    return board


def _found(board: "Board", layout: Layout) -> dict[str, Any]:
    """The object that `run --json` ends with: the contract's fields, without those of a search."""
    from tlsearch.comparison.answers import tables_json
    from tlsearch.errors import hidden
    from tlsearch.search.collect import tables_of
    from tlsearch.search.comparison_run import is_done
    from tlsearch.search.ledger import MLFLOW
    from tlsearch.search.storage import storage_address

    counts = _states(board)
    return {
        "study": board.config.name,
        "finished": all(map(is_done, board.cells.values())),
        "trials": {k: counts.get(k, 0) for k in ("complete", "pruned", "failed", "diverged")},
        **tables_json(tables_of(board, layout.study(board.config.name))),
        "mlflow": board.whole.search.user_attrs.get(MLFLOW),
        "optuna": {
            "storage": str(hidden(storage_address(board.config, layout))),
            "study_name": board.config.name,
        },
    }


def _states(board: "Board") -> Mapping[str, int]:
    from collections import Counter

    return Counter(row.state for row in board.rows())


def _counts(board: "Board") -> str:
    from tlsearch.config.cost import num_runs

    counts = _states(board)
    states = ("complete", "diverged", "failed")
    told = [f"{counts[state]} {state}" for state in states if counts.get(state)]
    planned = sum(num_runs(ledger.config, cell) for cell, ledger in board.cells.items())
    return f"at most {planned} trainings: {', '.join(told) or 'none yet'}"


def _next_steps(board: "Board", layout: Layout, report: Path, asked: str) -> list[str]:
    from tlsearch.cli.console import places
    from tlsearch.search.collect import CSV_FILE, JSON_FILE

    folder = layout.study(board.config.name)
    found = _found(board, layout)
    return [
        f"report            {escape(str(report))}",
        f"tables            {escape(str(folder / CSV_FILE))}, {JSON_FILE}",
        f"dashboards        tlsearch ui {escape(asked)}",
        *places(found["mlflow"], found["optuna"]["storage"]),
        f"report again      tlsearch report {escape(asked)}",
    ]
