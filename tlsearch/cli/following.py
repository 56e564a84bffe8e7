"""`tlsearch run --open-report`: the report in a browser while the study runs."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import layout_here


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
