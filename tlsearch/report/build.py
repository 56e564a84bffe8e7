"""The one entry to all formats: the report of a study, be it a search or a comparison, as text."""

import json
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from tlsearch.config.paths import Layout
from tlsearch.errors import RequestError, refused, shown
from tlsearch.search.store import Store

if TYPE_CHECKING:
    from tlsearch.report.context import SearchReport

Format = Literal["html", "md", "json", "csv"]


def build_report(store: Store, layout: Layout, *, format: Format) -> str:  # noqa: A002
    """The report of a study as it stands, also while it runs; nothing is created.

    What is missing is named in the report and stops nothing.

    Raises:
        RequestError: there is no such format, or `csv` of a search, which has no tables of claims.
    """
    if format not in get_args(Format):
        rule, remedy = "is no format of reports", f"write {', '.join(get_args(Format))}"
        raise refused("format", shown(format), rule, remedy)
    from tlsearch.comparison.answers import tables_csv
    from tlsearch.report.context import SearchReport, read_report

    if format == "csv" and store.config.comparison is None:
        raise RequestError(
            "--format csv: only a comparison has tables of claims — write html, md or json"
        )
    report = read_report(store, layout)
    if format == "json":
        found = result_json(store, layout, report=None, seconds=None)
        return _json_text(found | (_details(report) if isinstance(report, SearchReport) else {}))
    if format == "md":
        from tlsearch.report.markdown import render_markdown

        return render_markdown(report)
    if format == "html":
        from tlsearch.report.html import render_html

        return render_html(report)
    assert not isinstance(report, SearchReport), "refused above"
    return tables_csv(report.tables)


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


def _details(report: "SearchReport") -> dict[str, Any]:
    """What the report of a search holds beyond its result; of several networks what is known."""
    found: dict[str, Any] = {
        "data": {**report.provenance.facts.get("facts", {}), "audit": report.audit},
        "likeness": report.similarity or None,
        "start": list(report.start),
        "provenance": report.provenance.as_json(),
        # The tables and claims of a comparison; a study that only searches has none.
        "tables": [],
        "claims": [],
    }
    if report.networks is not None:
        found["networks"] = [network._asdict() for network in report.networks.networks]
        found["score_agreement"] = {
            score: one and {k: v if isfinite(v) else None for k, v in one._asdict().items()}
            for score, one in report.networks.agreements.items()
        }
    return found
