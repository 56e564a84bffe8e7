"""A comparison's tables as one HTML file."""

from tlsearch.evidence.answers import Tables
from tlsearch.report.absent import Absent
from tlsearch.report.comparison.findings import findings, foretold, summary, warnings
from tlsearch.report.comparison.method import protocol_text, provenance_text
from tlsearch.report.comparison.rows import rows_of, scenarios_of
from tlsearch.report.comparison.wording import MEANINGS, SIDES, arm_name
from tlsearch.report.figures import forest, foretelling
from tlsearch.report.figures.canvas import Picture
from tlsearch.report.page import render_page


def render_comparison_html(tables: Tables) -> str:
    """The whole page; every text of a user is escaped."""
    pooled = tables.tables[0]
    shown = comparison_pictures(tables)
    return render_page(
        "comparison.html.j2",
        drawn=shown,
        pictures=shown,
        name=tables.protocol.comparison,
        reference=arm_name(tables.protocol.reference, tables),
        title=pooled.title,
        is_own=tables.protocol.table == "own",
        summary=summary(tables),
        findings=findings(tables),
        foretold=foretold(tables),
        warnings=warnings(tables),
        meanings=MEANINGS,
        sides=SIDES,
        rows=rows_of(tables, pooled),
        scenarios=scenarios_of(tables),
        protocol=protocol_text(tables),
        provenance=provenance_text(tables),
    )


def comparison_pictures(tables: Tables) -> list[Picture]:
    """Every figure of the page."""
    return [_forest(tables) if tables.protocol.future is None else _foretelling(tables)]


def _forest(tables: Tables) -> Picture:
    title = f"Gains over {arm_name(tables.protocol.reference, tables)}"
    found = forest.compute(tables)
    if isinstance(found, Absent):
        return Picture("forest", title, found.reason, "", None, 0)
    plot = forest.draw(found).to_json()
    return Picture("forest", title, forest.caption(found), forest.alt(found), plot, found.height)


def _foretelling(tables: Tables) -> Picture:
    title = "What splits made one expect, and what came true"
    found = foretelling.compute(tables)
    if isinstance(found, Absent):
        return Picture("foretelling", title, found.reason, "", None, 0)
    plot, told = foretelling.draw(found).to_json(), foretelling.alt(found)
    return Picture("foretelling", title, foretelling.caption(found), told, plot, found.height)
