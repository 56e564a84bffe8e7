"""A comparison's tables as one HTML file."""

from tlsearch.evidence.answers import Tables
from tlsearch.report.comparison.findings import findings, foretold, summary, warnings
from tlsearch.report.comparison.gallery import answer_picture, reasons
from tlsearch.report.comparison.method import protocol_text, provenance_told
from tlsearch.report.comparison.rows import rows_of, scenarios_of
from tlsearch.report.comparison.wording import MEANINGS, SIDES, arm_name
from tlsearch.report.page import render_page


def render_comparison_html(tables: Tables) -> str:
    """The whole page; every text of a user is escaped."""
    pooled = tables.tables[0]
    answer, behind = answer_picture(tables), reasons(tables)
    return render_page(
        "comparison.html.j2",
        drawn=[answer, *behind],
        picture=answer,
        reasons=[picture for picture in behind if picture.plot],
        unmeasured=[picture.caption for picture in behind if not picture.plot],
        name=tables.protocol.comparison,
        about=tables.provenance.about if tables.provenance else None,
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
        provenance=provenance_told(tables),
        study=tables.provenance.study if tables.provenance else None,
    )
