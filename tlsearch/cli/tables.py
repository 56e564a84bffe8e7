"""The tables of a comparison in a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.evidence.answers import Tables
from tlsearch.report.comparison.rows import rows_of, scenarios_of
from tlsearch.report.comparison.wording import SIDES, arm_name, summary, warnings

_STYLES = {
    "supported": "green",
    "contradicted": "red",
    "no material effect": "blue",
    "inconclusive": "yellow",
}


def show_tables(tables: Tables, console: Console) -> None:
    """The pooled verdicts, then each scenario's arms; verdicts are worded, colours only help."""
    protocol = tables.protocol
    pooled = tables.tables[0]
    console.print(f"[bold]{escape(protocol.comparison)}[/bold]: {escape(pooled.title)}")
    console.print(escape(summary(tables)), soft_wrap=True)
    for warning in warnings(tables):
        console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
    console.print(_verdicts(tables))
    reference = arm_name(protocol.reference, tables)
    for place in scenarios_of(tables):
        console.print(f"\n[bold]{escape(place.name)}[/bold] {escape(place.about)}", soft_wrap=True)
        for warning in place.warnings:
            console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
        shown = _plain("arm", "test accuracy", f"over {reference}")
        for arm in place.arms:
            shown.add_row(escape(arm.arm), arm.accuracy, escape(arm.gain))
        console.print(shown)


def _verdicts(tables: Tables) -> Table:
    is_own = tables.protocol.table == "own"
    names = ("arm", "verdict", "measured") if is_own else ("", "claim", "verdict", "measured")
    shown = _plain(*names)
    for row in rows_of(tables, tables.tables[0]):
        if not is_own:
            shown.add_row(f"[bold]{row.id}[/bold]", f"[bold]{escape(row.strategy)}[/bold]", "", "")
        for side, answers in row.cells.items():
            for one in answers:
                style = _STYLES.get(one.kind, "dim")
                verdict = f"[{style}]{one.verdict}[/{style}]"
                measured = escape(one.effect or one.sides)
                claim = escape(f"{SIDES[side].removeprefix('said ')}: {one.says}")
                first = (escape(row.strategy),) if is_own else ("", claim)
                shown.add_row(*first, verdict, measured)
    return shown


def _plain(*columns: str) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        shown.add_column(escape(name), no_wrap=name == "verdict")
    return shown
