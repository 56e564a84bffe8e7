"""The tables of a comparison in a terminal."""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tlsearch.evidence.answers import Tables
from tlsearch.report.comparison.findings import summary, warnings
from tlsearch.report.comparison.rows import rows_of, scenarios_of
from tlsearch.report.comparison.wording import SIDES

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
    for place in scenarios_of(tables):
        console.print(f"\n[bold]{escape(place.name)}[/bold]")
        for text in (place.said, place.measured, place.finding):
            if text:
                console.print(escape(text), soft_wrap=True)
        for warning in place.warnings:
            console.print(f"[bold]{escape(warning)}[/bold]", soft_wrap=True)
        # Of the parameters there is no room to tell: a report has them.
        kept = [i for i, column in enumerate(place.columns) if i == 0 or column.is_number]
        shown = _plain(*(place.columns[i].title for i in kept))
        for line in place.arms:
            shown.add_row(*(escape(line[i]) for i in kept))
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
                told = "; ".join(part for part in (one.effect, one.settled_by) if part)
                measured = escape(told or one.sides)
                claim = escape(f"{SIDES[side].removeprefix('said ')}: {one.says}")
                first = (escape(row.strategy),) if is_own else ("", claim)
                shown.add_row(*first, verdict, measured)
    return shown


def _plain(*columns: str) -> Table:
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        shown.add_column(escape(name), no_wrap=name == "verdict")
    return shown
