"""The one entry to all formats: the report of a study, be it a search or a comparison, as text."""

import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tlsearch.config.paths import Layout
from tlsearch.errors import RequestError
from tlsearch.search.store import Store

if TYPE_CHECKING:
    from tlsearch.report.context import ReportData

Format = Literal["html", "md", "json", "csv"]


def build_report(store: Store, layout: Layout, *, format: Format) -> str:  # noqa: A002
    """The report of a study as it stands, also while it runs; nothing is created.

    What is missing is named in the report and stops nothing.

    Raises:
        RequestError: `csv` of a search, which has no tables of claims.
    """
    is_search = store.config.comparison is None
    if format == "csv" and is_search:
        raise RequestError(
            "--format csv: only a comparison has tables of claims — write html, md or json"
        )
    if format == "json":
        found = result_json(store, layout, report=None, seconds=None)
        return _json_text({**found, **(_details(store, layout) if is_search else {})})
    from tlsearch.report.context import read_report
    from tlsearch.search.collect import tables_of

    folder = layout.study(store.config.name)
    if format == "csv":
        from tlsearch.comparison.answers import tables_csv

        return tables_csv(tables_of(store, folder))
    report = read_report(store, layout) if is_search else tables_of(store, folder)
    if format == "md":
        from tlsearch.report.markdown import render_markdown

        return render_markdown(report)
    from tlsearch.report.html import render_html

    return render_html(report)


def result_json(
    store: Store, layout: Layout, *, report: Path | None, seconds: float | None
) -> dict[str, Any]:
    """The object that `run --json` ends with; of a comparison without a search's fields."""
    from tlsearch.search.summary import as_json, summarise

    found = as_json(summarise(store, layout), report=report, seconds=seconds)
    if store.config.comparison is None:
        return found
    from tlsearch.comparison.answers import tables_json
    from tlsearch.search.collect import tables_of

    shared = {name: found[name] for name in ("study", "finished", "trials", "mlflow", "optuna")}
    ended = {"report": found["report"], "seconds": seconds} if report is not None else {}
    return {**shared, **tables_json(tables_of(store, layout.study(store.config.name))), **ended}


def _json_text(found: dict[str, Any]) -> str:
    text = json.dumps(found, indent=2, ensure_ascii=False)
    # Halves of characters, from names of files that are no text, can be written as escapes alone.
    return text.encode("utf-8", "backslashreplace").decode() + "\n"


def _details(store: Store, layout: Layout) -> dict[str, Any]:
    """What the report of a search holds beyond its result."""
    from tlsearch.report.context import read_report
    from tlsearch.report.provenance import as_json as provenance_json

    data = read_report(store, layout)
    return {
        "data": {**data.provenance.facts.get("facts", {}), "audit": data.audit},
        **_networks(data),
        "likeness": data.similarity or None,
        "provenance": provenance_json(data.provenance),
        # The tables and claims of a comparison; a study that only searches has none.
        "tables": [],
        "claims": [],
    }


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
