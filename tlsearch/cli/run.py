"""What the commands do where a study searches: run, status and report."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from tlsearch.cli.request import existing_ledger
from tlsearch.config.paths import layout_here, write_text
from tlsearch.config.schema import StudyConfig
from tlsearch.errors import RequestError

if TYPE_CHECKING:
    from tlsearch.search.ledger import Ledger


Format = Literal["html", "md", "json", "csv"]


def run(config: StudyConfig, *, fresh: bool, asked: str, as_json: bool, open_report: bool) -> None:
    """Search, confirm, write the report and print what was found."""
    from tlsearch.cli.console import show_outcome
    from tlsearch.cli.watching import watching

    started = time.monotonic()
    follow = following(config, wanted=open_report)
    with follow, watching(config, to_stderr=as_json) as watch:
        from tlsearch.search.runner import run_study
        from tlsearch.search.summary import as_json as summary_json
        from tlsearch.search.summary import summarise

        layout = layout_here()
        ledger = run_study(config, layout=layout, fresh=fresh, watch=watch)
    path = _write_report(ledger, "html", None)
    _publish(ledger, path)
    summary, seconds = summarise(ledger, layout), time.monotonic() - started
    if as_json:
        typer.echo(json.dumps(summary_json(summary, report=path, seconds=seconds)))
    else:
        show_outcome(summary, asked=asked, report=path, seconds=seconds)


def _publish(ledger: "Ledger", path: Path) -> None:
    from tlsearch.report.build import build_report
    from tlsearch.report.stills import search_stills
    from tlsearch.search.champion import publish

    layout = layout_here()
    text = build_report(ledger, layout, format="md")
    trouble = publish(
        ledger, layout, text=text, report=path, draw=lambda: search_stills(ledger, layout)
    )
    if trouble is not None:
        typer.echo(f"note: {trouble}", err=True)


def status(config: StudyConfig, *, as_json: bool, asked: str) -> None:
    """Tell where a study stands; creates nothing."""
    from tlsearch.cli.console import show_status
    from tlsearch.search.storage import is_running
    from tlsearch.search.summary import as_json as summary_json
    from tlsearch.search.summary import summarise

    layout = layout_here()
    summary = summarise(existing_ledger(config, asked), layout)
    running = is_running(layout.study(config.name))
    if as_json:
        found = summary_json(summary, report=None, seconds=None)
        typer.echo(json.dumps({**found, "running": running}))
    else:
        show_status(summary, asked=asked, running=running)


def report(config: StudyConfig, *, kind: Format, output: Path | None, asked: str) -> Path:
    """Write what a study found so far as one file; where it was written."""
    return _write_report(existing_ledger(config, asked), kind, output)


def _write_report(ledger: "Ledger", kind: Format, output: Path | None) -> Path:
    from tlsearch.report.build import build_report

    if kind == "csv":
        raise RequestError(
            "--format csv: only a comparison has tables of claims — write html, md or json"
        )
    layout = layout_here()
    path = output or layout.study(ledger.config.name) / f"report.{kind}"
    write_text(path, build_report(ledger, layout, format=kind))
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
