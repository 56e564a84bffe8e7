"""A study over several networks: what each promised, and what its trials came to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tlsearch.evidence.measures.ranking import Agreement, rank_agreement
from tlsearch.search.confirm import maximises
from tlsearch.search.jobs import NetworkJob, NetworkScored, Setting
from tlsearch.search.ledger import NETWORKS, Ledger
from tlsearch.search.runs import RunRow
from tlsearch.search.stage import Stage
from tlsearch.search.watching import Preparing
from tlsearch.study.config import StudyConfig

SCORES: Mapping[str, str] = {"log_me": "LogME", "h_score": "H-score", "leep": "LEEP", "nce": "NCE"}


class NetworkResult(NamedTuple):
    """A network's scores, empty before they were taken, and its complete trials: how many, and the
    best value, None without one.
    """

    backbone: str
    scores: Mapping[str, Any]
    trials: int
    best: float | None


class Foretold(NamedTuple):
    """Every network in the order of the study, and by score's name how well the score ranked their
    best values; None where fewer than two networks have both.
    """

    networks: tuple[NetworkResult, ...]
    agreements: Mapping[str, Agreement | None]


def score_networks(ledger: Ledger, setting: Setting, stage: Stage) -> Mapping[str, Any]:
    """The scores of each of several networks by name, kept in the study; none of a single one,
    which there is nothing to hold against.
    """
    names = ledger.config.backbone.names
    known: dict[str, Any] = dict(ledger.search.user_attrs.get(NETWORKS) or {})
    if len(names) < 2:
        return {}
    stage.preparer.configure(setting)
    for i, name in enumerate(name for name in names if name not in known):
        stage.watch(Preparing(i / len(names), f"scoring {name}"))
        answer = stage.errand(NetworkJob(backbone=name))
        assert isinstance(answer, NetworkScored)
        known[name] = dict(answer.scores)
        ledger.search.set_user_attr(NETWORKS, known)
    return known


def foretold(
    config: StudyConfig, rows: Sequence[RunRow], scores: Mapping[str, Any]
) -> Foretold | None:
    """What was promised beside what was reached; None for a study on one network."""
    names = config.backbone.names
    if len(names) < 2:
        return None
    better = max if maximises(config) else min
    networks = []
    for name in names:
        values = [
            row.value
            for row in rows
            if row.spec.kind == "search" and row.spec.backbone == name and row.value is not None
        ]
        best = better(values) if values else None
        networks.append(NetworkResult(name, scores.get(name, {}), len(values), best))
    sign = 1 if maximises(config) else -1
    reached = np.array([np.nan if n.best is None else sign * n.best for n in networks])
    return Foretold(
        tuple(networks),
        {
            score: rank_agreement(
                np.array([_number(n.scores.get(score)) for n in networks]), reached
            )
            for score in SCORES
        },
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
