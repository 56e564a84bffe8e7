"""A study in one object: what status, report and scripts are told."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tlsearch.config.data_checks import knows_source
from tlsearch.config.paths import Layout, write_text
from tlsearch.config.schema import StudyConfig
from tlsearch.data.records import TITLES, Audit, csv_text, summary
from tlsearch.data.records import as_json as auditing_as_json
from tlsearch.data.records import effect as auditing_effect
from tlsearch.errors import hidden
from tlsearch.execution.messages import NetworkJob, NetworkScored, Setting, Surveyed, SurveyJob
from tlsearch.execution.runs import RunRow
from tlsearch.metrics.transferability import RankAgreement, rank_agreement
from tlsearch.search.confirm import best_first, effect, is_finished, maximises, test_record
from tlsearch.search.events import Preparing, Remark
from tlsearch.search.ledger import AUDIT, LIKENESS, MLFLOW, NETWORKS, Ledger
from tlsearch.search.stage import Stage
from tlsearch.search.storage import storage_address

_NOT_TEST = ("baselines", "model", "model_run", "registered")
CLEAR_LOSS = "negative transfer: training from scratch does better"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A study as it stands.

    `counts` holds the search's trials by state. `best` is the winner of the confirmation, or the
    best trial so far where there is none yet. `test` is empty until the test part was scored.
    """

    name: str
    metric: str
    rows: Sequence[RunRow]
    counts: Mapping[str, int]
    budget: int
    best: RunRow | None
    baselines: Mapping[str, float | None]
    test: Mapping[str, Any]
    is_finished: bool
    mlflow: Mapping[str, str] | None
    storage: str

    @property
    def negative_transfer(self) -> bool:
        """Whether training from scratch beats the winner by an interval that excludes 0."""
        found = self.test.get("baselines", {}).get("from_scratch") if self.test else None
        return found is not None and effect(found["gain"]).high < 0


def summarise(ledger: Ledger, layout: Layout) -> Summary:
    """Read all of a study in one pass."""
    config, rows = ledger.config, ledger.rows()
    search = [row for row in rows if row.run.role == "trial"]
    test = test_record(ledger)
    ranked = best_first(rows, maximise=maximises(config))
    winner = next((r for r in ranked if test and r.number == test["winner"]), None)
    values = {row.run.key: row.value for row in rows}
    return Summary(
        name=config.name,
        metric=config.search.metric,
        rows=rows,
        counts=Counter(row.state for row in search),
        budget=config.budget.trials,
        best=winner or (ranked[0] if ranked else None),
        baselines={name: values.get(f"{name}-seed-0") for name in config.baselines},
        test=test,
        is_finished=is_finished(ledger),
        mlflow=ledger.search.user_attrs.get(MLFLOW),
        storage=str(hidden(storage_address(config, layout))),
    )


def as_json(summary: Summary, *, report: Path | None, seconds: float | None) -> dict[str, Any]:
    """The object that `tlsearch run --json` ends with."""
    best, test = summary.best, summary.test
    counts = {k: summary.counts.get(k, 0) for k in ("complete", "pruned", "failed", "diverged")}
    return {
        "study": summary.name,
        "finished": summary.is_finished,
        "trials": counts,
        "best": best
        and {
            "number": best.number,
            "value": best.value,
            "metric": summary.metric,
            "params": dict(best.run.params),
            "confirmed": bool(test),
        },
        "test": {k: v for k, v in test.items() if k not in _NOT_TEST} or None,
        "baselines": {
            name: {"value": value, **test.get("baselines", {}).get(name, {})}
            for name, value in summary.baselines.items()
        },
        "negative_transfer": summary.negative_transfer,
        "report": str(report) if report else None,
        "model": test.get("model"),
        "registered": test.get("registered"),
        "mlflow": summary.mlflow,
        "optuna": {"storage": summary.storage, "study_name": summary.name},
        "seconds": seconds,
    }


# A study over several networks: what each promised, and what its trials came to.


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
    agreements: Mapping[str, RankAgreement | None]


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
            if row.run.role == "trial" and row.run.backbone == name and row.value is not None
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


# How much a study's images look like those that its network was trained on.


FIGURES = ("similarity", "frechet_distance", "domain_error", "probe_accuracy")
"""Of the facts that `search.work.surveying.survey` measures, those that a search keeps."""


def measure_likeness(ledger: Ledger, setting: Setting, stage: Stage) -> Mapping[str, float | None]:
    """`FIGURES` of the study's images but the test part, by its first network; measured once and
    kept in the study. Empty where no image of the source is known, or no network was trained on it.
    """
    if setting.config.backbone.weights == "none" or not knows_source(setting.config):
        return {}
    known: Mapping[str, float | None] | None = ledger.search.user_attrs.get(LIKENESS)
    if known is None:
        stage.preparer.configure(setting)
        stage.watch(Preparing(1.0, "measuring how much the images look like the source's"))
        answer = stage.errand(SurveyJob(future=None))
        assert isinstance(answer, Surveyed)
        facts = dict(answer.facts)
        known = {name: facts[name] for name in FIGURES}
        ledger.search.set_user_attr(LIKENESS, known)
    return known


# What a study keeps of its audit: a summary in the ledger, the whole listing beside the report.


LISTING = "audit.csv"


def record_audit(ledger: Ledger, audit: Audit, folder: Path) -> None:
    """Keep what a report needs in the store, and the whole listing in the study's folder."""
    ledger.search.set_user_attr(AUDIT, summary(audit))
    write_text(folder / LISTING, csv_text(audit))


def audit_texts(audit: Audit) -> dict[str, Any]:
    """Files of the parent run in MLflow."""
    return {"audit.json": auditing_as_json(audit), LISTING: csv_text(audit)}


def remarks(audit: Audit) -> Iterator[Remark]:
    """A line for each finding that a user should have seen."""
    for finding in audit.findings:
        if finding.kind != "not_an_image":
            yield Remark(f"{TITLES[finding.kind]}: {finding.text}; {auditing_effect(finding)}")
    for sentence in audit.unseen:
        yield Remark(sentence)
