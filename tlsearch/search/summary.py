"""A study in one object: what status, report and scripts are told."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tlsearch.search.confirm import best_first, effect, maximises
from tlsearch.search.final import is_finished, test_record
from tlsearch.search.ledger import MLFLOW, Ledger
from tlsearch.search.runs import RunRow
from tlsearch.search.storage import storage_address
from tlsearch.study.layout import Layout
from tlsearch.study.values import hidden

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
    search = [row for row in rows if row.spec.kind == "search"]
    test = test_record(ledger)
    ranked = best_first(rows, maximise=maximises(config))
    winner = next((r for r in ranked if test and r.number == test["winner"]), None)
    values = {row.spec.key: row.value for row in rows}
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
            "params": dict(best.spec.params),
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
