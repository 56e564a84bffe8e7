"""A report as text, in one of three formats."""

import json
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal

from tlsearch.config.paths import Layout
from tlsearch.search.store import Store

if TYPE_CHECKING:
    from tlsearch.report.context import ReportData


def build_report(store: Store, layout: Layout, *, format: Literal["html", "md", "json"]) -> str:  # noqa: A002
    """The report of a study as it stands, also while it runs; nothing is created.

    What is missing is named in the report and stops nothing.
    """
    from tlsearch.report.context import read_report

    data = read_report(store, layout)
    if format == "json":
        return _json(data)
    if format == "md":
        from tlsearch.report.markdown import render_markdown

        return render_markdown(data)
    from tlsearch.report.html import render_html

    return render_html(data)


def _json(data: "ReportData") -> str:
    from tlsearch.report.provenance import as_json as provenance_json
    from tlsearch.search.summary import as_json

    found = {
        **as_json(data.summary, report=None, seconds=None),
        "data": {**data.provenance.facts.get("facts", {}), "audit": data.audit},
        **_networks(data),
        "likeness": data.likeness or None,
        "provenance": provenance_json(data.provenance),
        # The tables and claims of a comparison; a study that only searches has none.
        "tables": [],
        "claims": [],
    }
    text = json.dumps(found, indent=2, ensure_ascii=False)
    # Halves of characters, from names of files that are no text, can be written as escapes alone.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _networks(data: "ReportData") -> dict[str, Any]:
    """What is known of each of several networks; nothing for a study on one."""
    if data.networks is None:
        return {}
    agreements = {
        score: agreement and {k: v if isfinite(v) else None for k, v in agreement._asdict().items()}
        for score, agreement in data.networks.agreements.items()
    }
    networks = [network._asdict() for network in data.networks.networks]
    return {"networks": networks, "score_agreement": agreements}
