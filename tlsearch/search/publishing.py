"""The answer of a study beside its runs in MLflow and its trials in Optuna Dashboard."""

import importlib.util
from hashlib import sha256
from pathlib import Path

from tlsearch.errors import WorkError
from tlsearch.search.ledger import MIRRORED, MLFLOW, PUBLISHED, Ledger
from tlsearch.search.stage import tracking_address
from tlsearch.study.layout import Layout
from tlsearch.tracking.address import absolute_address
from tlsearch.tracking.publishing import publish as publish_in_mlflow


def publish(ledger: Ledger, layout: Layout, *, text: str, report: Path) -> str | None:
    """Make `text` (Markdown) the description of the study in both, and give MLflow the page; once
    for each answer, where MLflow was left whole. What a user has written there stays.

    Returns a sentence if MLflow did not take it: no reason to fail a study.
    """
    run_id = ledger.search.user_attrs.get(MLFLOW, {}).get("run_id")
    shown = {"run": run_id, "text": _digest(text)}
    before = ledger.search.user_attrs.get(PUBLISHED) or {}
    is_there = run_id is not None and ledger.search.user_attrs.get(MIRRORED)
    if not is_there or before == shown:
        return None
    _note(ledger, text, before.get("text"))
    try:
        publish_in_mlflow(
            tracking_uri=absolute_address(tracking_address(ledger.config, layout)),
            run_id=run_id,
            text=text,
            report=report,
        )
    except WorkError as error:
        return str(error)
    ledger.search.set_user_attr(PUBLISHED, shown)
    return None


def _note(ledger: Ledger, text: str, before: str | None) -> None:
    """Optuna Dashboard's note of the study; `before` is the digest of what was written last."""
    if importlib.util.find_spec("optuna_dashboard") is None:
        return
    from optuna_dashboard import get_note, save_note

    known = get_note(ledger.search)
    if not known or _digest(known) == before:
        save_note(ledger.search, text)


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]
