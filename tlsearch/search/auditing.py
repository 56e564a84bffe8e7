"""What a study keeps of its audit: a summary in the ledger, the whole listing beside the report."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tlsearch.data.audit.findings import TITLES, Audit, as_json, csv_text, effect, summary
from tlsearch.search.folder import write_whole
from tlsearch.search.ledger import AUDIT, Ledger
from tlsearch.search.watching import Remark

LISTING = "audit.csv"


def record_audit(ledger: Ledger, audit: Audit, folder: Path) -> None:
    """Keep what a report needs in the store, and the whole listing in the study's folder."""
    ledger.search.set_user_attr(AUDIT, summary(audit))
    write_whole(folder / LISTING, csv_text(audit))


def audit_texts(audit: Audit) -> dict[str, Any]:
    """Files of the parent run in MLflow."""
    return {"audit.json": as_json(audit), LISTING: csv_text(audit)}


def remarks(audit: Audit) -> Iterator[Remark]:
    """A line for each finding that a user should have seen."""
    for finding in audit.findings:
        if finding.kind != "not_an_image":
            yield Remark(f"{TITLES[finding.kind]}: {finding.text}; {effect(finding)}")
    for sentence in audit.unseen:
        yield Remark(sentence)
