"""`tlsearch doctor`: what works on this machine and what does not."""

import json
import os

import typer
from rich.console import Console
from rich.markup import escape

from tlsearch.errors import WorkError
from tlsearch.study.config import StudyConfig
from tlsearch.study.layout import layout_here

_MARKS = {
    "works": "[green]ok[/green]",
    "absent": "[dim]--[/dim]",
    "fails": "[bold red]!![/bold red]",
}


def doctor(config: StudyConfig | None, *, as_json: bool) -> None:
    """Tell all that was found; creates nothing.

    Raises:
        WorkError: something that is needed fails.
    """
    from tlsearch.search.examining import examine

    # A study has taken the environment's address already.
    named = os.environ.get("MLFLOW_TRACKING_URI") if config is None else config.tracking_uri
    findings = examine(config, layout_here(), tracking_uri=named or None)
    failed = [finding for finding in findings if finding.state == "fails"]
    if as_json:
        told = [finding._asdict() for finding in findings]
        typer.echo(json.dumps({"ok": not failed, "findings": told}))
    else:
        console, section = Console(highlight=False, emoji=False), ""
        for finding in findings:
            if finding.section != section:
                section = finding.section
                console.print(f"[bold]{section}[/bold]")
            remedy = f" — {finding.remedy}" if finding.remedy else ""
            line = f"  {_MARKS[finding.state]} {finding.name:<22} "
            console.print(line + escape(finding.told + remedy), soft_wrap=True)
    if failed:
        names = ", ".join(f"{finding.section}: {finding.name}" for finding in failed)
        raise WorkError(f"what is needed fails — {names}")
