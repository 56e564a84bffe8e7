"""What `run`, `status` and `report` do with a study, whether it searches or compares."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tlsearch import api
from tlsearch.api import REPORT
from tlsearch.config.cost import num_runs
from tlsearch.config.paths import layout_here
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import WorkError

if TYPE_CHECKING:
    from tlsearch.report.build import Format
    from tlsearch.search.store import Store


def run(
    config: StudyConfig, *, fresh: bool, arguments: str, as_json: bool, open_report: bool
) -> None:
    """Carry a study on to its end, write its report and print what was found.

    Raises:
        WorkError: a search ended without a winner; its report is written all the same.
    """
    from tlsearch.cli.console import watch_run

    started = time.monotonic()
    follow = following(config, wanted=open_report)
    with follow, watch_run(config, to_stderr=as_json) as watch:
        results = api.run(config, fresh=fresh, progress=watch, publish=False)
    if trouble := results.publish():
        typer.echo(f"note: {trouble}", err=True)
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(json.dumps(results.as_json(seconds=seconds)))
    else:
        _show(results, arguments=arguments, seconds=seconds)
    if results.failure:
        raise WorkError(results.failure)


def _show(results: api.Results, *, arguments: str, seconds: float) -> None:
    from tlsearch.cli.console import show_outcome
    from tlsearch.report.comparison import ComparisonReport
    from tlsearch.search.collect import CSV_FILE, JSON_FILE, tables_of
    from tlsearch.search.summary import summarise

    store, folder = results.store, results.folder
    is_search = store.config.comparison is None
    show_outcome(
        summarise(store, results.layout),
        arguments=arguments,
        report=folder / REPORT,
        seconds=seconds,
        planned=_planned(store),
        comparison=None if is_search else ComparisonReport(tables_of(store, folder)),
        files="" if is_search else f"{folder / CSV_FILE}, {JSON_FILE}",
    )


def status(config: StudyConfig, *, as_json: bool, arguments: str) -> None:
    """Show where a study stands; creates nothing."""
    from tlsearch.cli.console import show_status
    from tlsearch.search.confirm import cell_is_done
    from tlsearch.search.storage import is_running
    from tlsearch.search.summary import summarise

    results = started_study(config, arguments)
    store, running = results.store, is_running(results.folder)
    if as_json:
        typer.echo(json.dumps({**results.as_json(), "running": running}))
        return
    scenarios = None
    if config.comparison is not None:
        done = {cell: cell_is_done(store, cell) for cell in store.cells}
        arms = {
            name: [is_done for cell, is_done in done.items() if cell.scenario == name]
            for name in config.comparison.used
        }
        scenarios = {name: f"{sum(of)} of {len(of)} arms done" for name, of in arms.items()}
    show_status(
        summarise(store, results.layout),
        arguments=arguments,
        running=running,
        planned=_planned(store),
        scenarios=scenarios,
    )


def _planned(store: "Store") -> int | None:
    """The most trainings of a comparison."""
    if store.config.comparison is None:
        return None
    return sum(num_runs(config, cell) for cell, config in store.cells.items())


def started_study(config: StudyConfig, arguments: str) -> api.Results:
    """What a study that was started found; `arguments` as a shell takes them. Creates nothing."""
    return api.open_results(config, start=f"tlsearch run {arguments}")


def report(config: StudyConfig, *, kind: "Format", output: Path | None, arguments: str) -> Path:
    """Write what a study found so far as one file; where it was written."""
    return started_study(config, arguments).report(output, format=kind)


# `tlsearch run --open-report`: the report in a browser while the study runs.


@contextmanager
def following(config: StudyConfig, *, wanted: bool) -> Iterator[None]:
    """Keep the study's report up to date while the block runs, and open it, if that is wanted."""
    if not wanted:
        yield
        return
    from tlsearch.report.live import can_open_pages, live_report

    layout = layout_here()
    path = layout.study(config.name) / REPORT
    browser = can_open_pages()
    if not browser:
        typer.echo(f"no browser here; the report is kept up to date in {path}", err=True)
    with live_report(config, layout, path, browser=browser):
        yield
