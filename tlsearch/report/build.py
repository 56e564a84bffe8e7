"""A report as text, in one of three formats, and its file."""

from math import isfinite
from typing import Any, Literal

from tlsearch.config.paths import Layout
from tlsearch.search.ledger import Ledger


def build_report(ledger: Ledger, layout: Layout, *, format: Literal["html", "md", "json"]) -> str:  # noqa: A002
    """The report of a study as it stands, also while it runs; nothing is created.

    What is missing is named in the report and stops nothing.
    """
    if format == "json":
        return _json(ledger, layout)
    from tlsearch.report.context import read_report

    data = read_report(ledger, layout)
    if format == "md":
        from tlsearch.report.markdown import render_markdown

        return render_markdown(data)
    from tlsearch.report.html import render_html

    return render_html(data)


def _json(ledger: Ledger, layout: Layout) -> str:
    import json

    from tlsearch.report.provenance import as_json as provenance_json
    from tlsearch.report.provenance import find_provenance
    from tlsearch.search.ledger import AUDIT, FACTS, LIKENESS
    from tlsearch.search.summary import as_json, summarise

    summary = summarise(ledger, layout)
    found = as_json(summary, report=None, seconds=None)
    attributes = ledger.search.user_attrs
    facts = attributes.get(FACTS) or {}
    data = {**facts.get("facts", {}), "audit": attributes.get(AUDIT)}
    # The tables and claims of a comparison; a study that only searches has none.
    whole = {
        **found,
        "data": data,
        **_networks(ledger),
        "likeness": attributes.get(LIKENESS) or None,
        "provenance": provenance_json(find_provenance(ledger, summary)),
        "tables": [],
        "claims": [],
    }
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    # Halves of characters, from names of files that are no text, can be written as escapes alone.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _networks(ledger: Ledger) -> dict[str, Any]:
    """What is known of each of several networks; nothing for a study on one."""
    from tlsearch.search.ledger import NETWORKS
    from tlsearch.search.summary import foretold

    promised = ledger.search.user_attrs.get(NETWORKS) or {}
    found = foretold(ledger.config, ledger.rows(), promised)
    if found is None:
        return {}
    agreements = {
        score: agreement and {k: v if isfinite(v) else None for k, v in agreement._asdict().items()}
        for score, agreement in found.agreements.items()
    }
    networks = [network._asdict() for network in found.networks]
    return {"networks": networks, "score_agreement": agreements}
