"""Where a comparison's figures come from, noted while it ran."""

from collections import Counter

from tlsearch.evidence.answers import Provenance
from tlsearch.search.comparison.board import Board
from tlsearch.search.ledger import FACTS
from tlsearch.search.provenance import origin
from tlsearch.study.resolved import redacted, to_yaml

_ORIGIN = "origin"
_ENDINGS = ("complete", "diverged", "failed")


def note_origin(board: Board, *, has_work: bool) -> None:
    """Keep command, versions, cores and revision of an invocation that has work to do, or is the
    first that could note them.
    """
    if has_work or board.noted(_ORIGIN) is None:
        board.note(_ORIGIN, origin())


def provenance_of(board: Board) -> Provenance:
    """What was noted, and what all trainings that have ended took; the same whenever it is read."""
    noted = board.noted(_ORIGIN) or {}
    rows = [row for row in board.rows() if row.state in _ENDINGS]
    states = Counter(row.state for row in rows)
    facts = [ledger.search.user_attrs.get(FACTS) or {} for ledger in board.cells.values()]
    ends = [row.ended for row in rows if row.ended is not None]
    return Provenance(
        command=noted.get("command"),
        date=f"{max(ends):%Y-%m-%d %H:%M}" if ends else None,
        versions=noted.get("versions", {}),
        trainings={state: states[state] for state in _ENDINGS if states[state]},
        seconds=sum(row.seconds for row in rows),
        precisions=tuple(sorted({found["precision"] for found in facts if "precision" in found})),
        devices=tuple(sorted({found["device"] for found in facts if "device" in found})),
        cores=noted.get("cores"),
        revision=noted.get("revision"),
        study=to_yaml(redacted(board.config)),
        about=board.config.about,
        images_trained=sum(row.images_trained for row in rows),
        fingerprints=_fingerprints(board),
    )


def _fingerprints(board: Board) -> dict[str, str]:
    """Of the data by scenario, then of all weights together, as far as anything was read."""
    data: dict[str, str] = {}
    weights: dict[str, None] = {}
    for cell, ledger in board.cells.items():
        facts = ledger.search.user_attrs.get(FACTS) or {}
        if facts:
            data[f"data of {cell.scenario}"] = str(facts["data"])
            weights[str(facts["weights"])] = None
    return data | ({"weights": ", ".join(weights)} if weights else {})
