"""What `run`, `status` and `report` do with a study, whether it searches or compares."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from tlsearch.config.cost import num_runs
from tlsearch.config.paths import layout_here, write_text
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import RequestError, WorkError
from tlsearch.search.preview import refuse_unclaimed

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
    if config.comparison is not None:
        refuse_unclaimed(config)
    from tlsearch.cli.console import watch_run

    started = time.monotonic()
    follow = following(config, wanted=open_report)
    with follow, watch_run(config, to_stderr=as_json) as watch:
        from tlsearch.search.runner import run_study
        from tlsearch.search.summary import summarise

        store = run_study(config, layout=layout_here(), fresh=fresh, watch=watch)
    path = _write_report(store, "html", None)
    _publish(store, path)
    seconds = time.monotonic() - started
    if as_json:
        from tlsearch.report.build import result_json

        found = result_json(store, layout_here(), report=path, seconds=seconds)
        typer.echo(json.dumps(found))
    else:
        _show(store, arguments=arguments, report=path, seconds=seconds)
    failure = summarise(store, layout_here()).failure
    if failure:
        raise WorkError(failure)


def _show(store: "Store", *, arguments: str, report: Path, seconds: float) -> None:
    from tlsearch.cli.console import show_outcome
    from tlsearch.report.comparison import ComparisonReport
    from tlsearch.search.collect import CSV_FILE, JSON_FILE, tables_of
    from tlsearch.search.summary import summarise

    folder, is_search = layout_here().study(store.config.name), store.config.comparison is None
    show_outcome(
        summarise(store, layout_here()),
        arguments=arguments,
        report=report,
        seconds=seconds,
        planned=_planned(store),
        comparison=None if is_search else ComparisonReport(tables_of(store, folder)),
        files="" if is_search else f"{folder / CSV_FILE}, {JSON_FILE}",
    )


def _publish(store: "Store", path: Path) -> None:
    from tlsearch.report.context import SearchReport, read_report
    from tlsearch.report.markdown import render_markdown
    from tlsearch.report.stills import stills_of
    from tlsearch.search.champion import publish

    layout = layout_here()
    report = read_report(store, layout)
    text = render_markdown(report, whole=isinstance(report, SearchReport))
    folder = layout.study(store.config.name)
    trouble = publish(store, layout, text=text, report=path, draw=lambda: stills_of(report, folder))
    if trouble is not None:
        typer.echo(f"note: {trouble}", err=True)


def status(config: StudyConfig, *, as_json: bool, arguments: str) -> None:
    """Show where a study stands; creates nothing."""
    from tlsearch.cli.console import show_status
    from tlsearch.search.confirm import cell_is_done
    from tlsearch.search.storage import is_running
    from tlsearch.search.summary import summarise

    layout, store = layout_here(), existing_store(config, arguments)
    running = is_running(layout.study(config.name))
    if as_json:
        from tlsearch.report.build import result_json

        path = layout.study(config.name) / "report.html"
        report = path if path.exists() else None
        found = result_json(store, layout, report=report, seconds=None)
        typer.echo(json.dumps({**found, "running": running}))
        return
    scenarios = None
    if config.comparison is not None:
        done = {cell: cell_is_done(store, cell) for cell in store.cells}
        arms = {
            name: [is_done for cell, is_done in done.items() if cell.scenario == name]
            for name in config.comparison.used
        }
        scenarios = {name: f"{sum(of)} of {len(of)} arms done" for name, of in arms.items()}
    summary = summarise(store, layout)
    show_status(
        summary,
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


def existing_store(config: StudyConfig, arguments: str) -> "Store":
    """The store of a study that was started; `arguments` as a shell takes them. Creates nothing."""
    from tlsearch.search import store as stores
    from tlsearch.search.storage import open_storage

    store = stores.existing_store(config, open_storage(config, layout_here(), create=False))
    if store is None:
        raise not_started(config.name, arguments)
    return store


def not_started(name: str, arguments: str) -> RequestError:
    """The error about a study that was not started here."""
    return RequestError(
        f"name = {name!r}: no such study has been started in {Path.cwd()} — start it with: "
        f"tlsearch run {arguments}"
    )


def report(config: StudyConfig, *, kind: "Format", output: Path | None, arguments: str) -> Path:
    """Write what a study found so far as one file; where it was written."""
    return _write_report(existing_store(config, arguments), kind, output)


def _write_report(store: "Store", kind: "Format", output: Path | None) -> Path:
    from tlsearch.report.build import build_report

    layout = layout_here()
    path = output or layout.study(store.config.name) / f"report.{kind}"
    write_text(path, build_report(store, layout, format=kind))
    return path


# `tlsearch run --open-report`: the report in a browser while the study runs.


@contextmanager
def following(config: StudyConfig, *, wanted: bool) -> Iterator[None]:
    """Keep the study's report up to date while the block runs, and open it, if that is wanted."""
    if not wanted:
        yield
        return
    from tlsearch.report.live import can_open_pages, live_report

    layout = layout_here()
    path = layout.study(config.name) / "report.html"
    browser = can_open_pages()
    if not browser:
        typer.echo(f"no browser here; the report is kept up to date in {path}", err=True)
    with live_report(config, layout, path, browser=browser):
        yield
