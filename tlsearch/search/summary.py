"""A study in one object: what status, report and scripts show."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from tlsearch.config.cells import Cell
from tlsearch.config.paths import Layout, evaluation_path, write_text
from tlsearch.config.schema import StudyConfig
from tlsearch.config.search_options import METRICS, Metric
from tlsearch.data.records import TITLES, Audit, csv_text, summary
from tlsearch.data.records import as_json as auditing_as_json
from tlsearch.data.records import effect as auditing_effect
from tlsearch.errors import hidden
from tlsearch.execution.messages import Remark
from tlsearch.execution.runs import OPEN, RunRow
from tlsearch.metrics.curves import ClassBalance, class_balance
from tlsearch.metrics.objectives import of_largest
from tlsearch.metrics.transferability import RankAgreement, rank_agreement
from tlsearch.search.champion import recipe_of
from tlsearch.search.confirm import (
    BEST_TRIAL,
    best_first,
    chosen,
    is_finished,
    maximises,
    test_record,
)
from tlsearch.search.stop import Outlook, outlook_text, stop_text, whole_outlook
from tlsearch.search.storage import storage_address
from tlsearch.search.store import AUDIT, FACTS, MLFLOW, NETWORKS, Store
from tlsearch.tracking.address import sqlite_path

_NOT_TEST = ("baselines", "baseline_keys", "model", "model_run", "registered")


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A study as it stands.

    `counts` holds the search's trials by state. `best` is the best trial of the confirmation, or
    the best one so far; `winning_baseline` is the run of a baseline that beat it there. `test` is
    empty until the test part was scored. `classes` is of the part that the best one's accuracy is
    of: the test part, once it was scored, or validation; None where that is not known. `precision`
    is the number format, of several networks each one's; None before it was chosen. `stopped` says
    that a search ended before its budget and why, `outlook_text` what more trials would probably
    gain; "" where there is nothing to say.
    """

    name: str
    metric: str
    rows: Sequence[RunRow]
    is_search: bool
    confirms: bool
    counts: Mapping[str, int]
    budget: int
    best: RunRow | None
    winning_baseline: RunRow | None = None
    baselines: Mapping[str, float | None]
    recipes: Mapping[str, Mapping[str, Any]]
    test: Mapping[str, Any]
    outlook: Outlook | None = None
    stopped: str = ""
    outlook_text: str = ""
    classes: ClassBalance | None
    is_finished: bool
    precision: str | None
    mlflow: Mapping[str, str] | None
    storage: str

    @property
    def tested(self) -> Metric:
        """What the test part's figures are given in: the study's metric, or accuracy where a
        version of tlsearch scored it that knew no other.
        """
        return METRICS[self.metric if "scores" in self.test else "val_accuracy"]

    def score(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """The mean with its interval that the test's record, or that of a baseline in it, has."""
        found: Mapping[str, Any] = record.get("scores", record)[self.tested.name]
        return found

    def gain(self, baseline: Mapping[str, Any]) -> Mapping[str, Any]:
        """What the winner gains over a baseline of the test's record; above 0 it is better."""
        found: Mapping[str, Any] = baseline.get("gains", {"accuracy": baseline["gain"]})
        return dict(found[self.tested.name])

    @property
    def _trivial(self) -> tuple[str, float, bool]:
        """What always answering the largest class comes to: in which metric, how much, and whether
        the best one is not clearly above that. Of a log loss, which then is infinite, in accuracy.
        """
        assert self.classes is not None
        metric = self.tested if self.test else METRICS[self.metric]
        by_accuracy = METRICS["val_accuracy"]
        reached = 1.0  # what it reaches at the least
        if self.test:
            metric = metric if metric.is_share else by_accuracy
            reached = self.test.get("scores", self.test)[metric.name]["low"]
        elif metric.is_share:
            reached = 0.0 if self.best is None else self.best.value or 0.0
        else:  # the loss of a validation part says nothing of that
            metric = by_accuracy
        bar = of_largest(self.classes)[metric.name]
        return metric.label, bar, reached <= bar

    @property
    def no_better(self) -> str:
        """That the winner is no better than always answering one class; "" where it is."""
        if self.classes is None or not self.test:
            return ""
        label, bar, is_no_better = self._trivial
        if not is_no_better:
            return ""
        return (
            f"As far as the test part tells, the winner is no better than always answering "
            f"“{self.classes.largest}”, the largest class, which gives {100 * bar:.1f} % {label}."
        )

    @property
    def imbalance(self) -> str:
        """What the best one's value leaves open where classes differ in size, or where naming one
        class does as well; "" where neither is so.
        """
        found = self.classes
        if found is None:
            return ""
        is_uneven = found.largest_share >= UNEVEN * found.smallest_share
        label, bar, is_no_better = self._trivial
        if not is_uneven and not is_no_better:
            return ""
        share = f"{100 * bar:.1f} %" + ("" if self.metric == "val_accuracy" else f" {label}")
        text = f"always answering “{found.largest}”, the largest class, gives {share}"
        if is_no_better:
            text = f"not clearly more than the {share} of always answering “{found.largest}”"
        if not is_uneven:
            return text
        recall = f"{100 * found.smallest_recall:.1f} %"
        return f"{text}; of the smallest class, “{found.smallest}”, {recall} are recognised"

    @property
    def nothing(self) -> str:
        """Why no trial is the best one, where none is."""
        states = Counter(self.counts)
        if not states.total():
            return "No trial has been started. Run the study first."
        if any(states[state] for state in OPEN):
            return "No trial has been completed yet."
        if states["diverged"] == states.total():
            return "All trials diverged: lower the rates in the study's space."
        return "No trial was completed; the report's table of trials gives each one's reason."

    @property
    def failure(self) -> str:
        """Why a search that has come to its end has no winner; empty if it has one, needs none, or
        goes on.
        """
        if not self.is_search or not self.is_finished:
            return ""
        if self.best is None:
            return self.nothing
        if self.confirms and not self.test:
            return "No trial completed its confirmation, so the test part stays untouched."
        return ""

    @property
    def winner(self) -> RunRow | None:
        """What is recommended: the best trial, or the baseline that beat it."""
        return self.winning_baseline or self.best

    @property
    def negative_transfer(self) -> bool:
        """Whether training from scratch beats the winner, or as the winner the best trial, by an
        interval that excludes 0.
        """
        found = self.test.get("baselines", {}) if self.test else {}
        if self.winning_baseline and self.winning_baseline.run.name == "from_scratch":
            return bool(self.gain(found[BEST_TRIAL])["low"] > 0)
        return "from_scratch" in found and bool(self.gain(found["from_scratch"])["high"] < 0)

    @property
    def negative_transfer_text(self) -> str:
        """What is said where it does, with what training from scratch had for it."""
        # As it was when the test part was scored, which may be before it was changed.
        recipe: dict[str, Any] = dict(self.recipes.get("from_scratch", {}))
        recipe |= self.test.get("baselines", {}).get("from_scratch", {})
        how = (
            f"tuned with {recipe['trials']} trials of its own"
            if recipe["recipe"] == "tuned"
            else "with one fixed recipe, which was not tuned"
        )
        beaten = "the best trial" if self.winning_baseline else "the winner"
        return f"negative transfer: training from scratch, {how}, does better than {beaten}"


UNEVEN = 3.0
"""From this ratio of the largest to the smallest class on, an accuracy is explained."""


def summarise(store: Store, layout: Layout) -> Summary:
    """Read all of a study in one pass. A comparison counts all its runs, and has no best one."""
    config, rows, is_search = store.config, store.rows(), store.config.comparison is None
    test = test_record(store)
    ranked = best_first(rows, maximise=maximises(config)) if is_search else []
    best_trial = test.get("best_trial", test.get("winner"))
    best = next((r for r in ranked if r.number == best_trial), ranked[0] if ranked else None)
    won = [row for row in rows if test.get("baseline") and row.run.key == test["champion"]]
    baselines = list(config.baselines) if is_search else []
    return Summary(
        name=config.name,
        metric=config.search.metric,
        rows=rows,
        is_search=is_search,
        confirms=config.confirm.seeds > 0,
        counts=Counter(row.state for row in rows if row.run.role == "trial" or not is_search),
        budget=config.num_trials(),
        best=best,
        winning_baseline=won[0] if won else None,
        baselines={name: _baseline_value(store, name) for name in baselines},
        recipes={name: recipe_of(store, name) for name in (*baselines, *(r.run.name for r in won))},
        test=test,
        outlook=whole_outlook(store) if is_search else None,
        stopped=stop_text(store) if is_search else "",
        outlook_text=outlook_text(store) if is_search else "",
        classes=_classes(test, best, layout.study(config.name)),
        is_finished=is_finished(store),
        precision=(store.noted(FACTS) or {}).get("precision"),
        mlflow=_place_in_mlflow(store, layout),
        storage=str(hidden(storage_address(config, layout))),
    )


def _place_in_mlflow(store: Store, layout: Layout) -> Mapping[str, str] | None:
    """Where the mirror stands; of the database here by the folder's present place, as it may have
    been moved or copied since that was noted.
    """
    noted: Mapping[str, str] | None = store.noted(MLFLOW)
    file, here = sqlite_path(noted["tracking_uri"]) if noted else None, layout.mlflow_db
    is_ours = file is not None and file.parts[-2:] == here.parts[-2:]
    if noted is None or not is_ours or store.config.tracking_uri:
        return noted
    return {**noted, "tracking_uri": f"sqlite:///{here.as_posix()}"}


def _classes(test: Mapping[str, Any], best: RunRow | None, folder: Path) -> ClassBalance | None:
    """As the test part was scored, or as the best trial left its validation part."""
    if test:
        found = test.get("classes", {})
        is_whole = set(found) == set(ClassBalance._fields)  # an older version kept less
        return ClassBalance(**found) if is_whole else None
    if best is not None:
        with suppress(OSError, ValueError, KeyError, TypeError):  # the report names what is missing
            content = json.loads(evaluation_path(folder, best.run.key).read_text(encoding="utf-8"))
            return class_balance(np.array(content["confusion"]), content["classes"])
    return None


def _baseline_value(store: Store, name: str) -> float | None:
    """A baseline's mean validation value over the seeds that it completed; of a tuned one that of
    its best trial, on the search's own split.
    """
    cell = Cell("", name)
    if cell in store.cells:
        best = chosen(store, cell)
        values = {row.number: row.value for row in store.trials(cell)}
        return None if best is None or best.trial is None else values[best.trial]
    found = [
        row.value
        for row in store.fixed_rows("")
        if row.run.role == "baseline" and row.run.name == name and row.value is not None
    ]
    return fmean(found) if found else None


def as_json(summary: Summary, *, report: Path | None, seconds: float | None) -> dict[str, Any]:
    """The object that `tlsearch run --json` ends with."""
    best, test = summary.best, summary.test
    found = test.get("baselines", {})
    counts = {k: summary.counts.get(k, 0) for k in ("complete", "pruned", "failed", "diverged")}
    compared = dict(summary.baselines)
    if best is not None and BEST_TRIAL in found:
        compared[BEST_TRIAL] = best.value
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
        "winner": summary.winner and summary.winner.run.label,
        "test": {k: v for k, v in test.items() if k not in _NOT_TEST} or None,
        "baselines": {
            name: {"value": value, **summary.recipes.get(name, {}), **found.get(name, {})}
            for name, value in compared.items()
        },
        "outlook": summary.outlook and summary.outlook._asdict(),
        "stopped": summary.stopped or None,
        "precision": summary.precision,
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


SIMILARITY_FIGURES = ("similarity", "frechet_distance", "domain_error", "probe_accuracy")
"""Of the facts that a survey measures, those that a search keeps."""


class NetworkResult(NamedTuple):
    """A network's scores, empty before they were taken, and its complete trials: how many, and the
    best value, None without one.
    """

    backbone: str
    scores: Mapping[str, Any]
    trials: int
    best: float | None


class NetworkRanking(NamedTuple):
    """Every network in the order of the study, and by score's name how well the score ranked their
    best values; None where fewer than two networks have both.
    """

    networks: tuple[NetworkResult, ...]
    agreements: Mapping[str, RankAgreement | None]


def network_scores(store: Store) -> Mapping[str, Any]:
    """The scores of each of several networks by name; empty before they were taken."""
    noted = store.noted(NETWORKS) or {}
    return noted.get("scores") or {}


def rank_networks(
    config: StudyConfig, rows: Sequence[RunRow], scores: Mapping[str, Any]
) -> NetworkRanking | None:
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
    return NetworkRanking(
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


# What a study keeps of its audit: a summary in the store, the whole listing beside the report.


LISTING = "audit.csv"


def record_audit(store: Store, audit: Audit, folder: Path) -> None:
    """Keep what a report needs in the store, and the whole listing in the study's folder."""
    store.note(AUDIT, summary(audit))
    write_text(folder / LISTING, csv_text({"": audit}))


def audit_texts(audit: Audit) -> dict[str, Any]:
    """Files of the parent run in MLflow."""
    return {"audit.json": auditing_as_json(audit), LISTING: csv_text({"": audit})}


def remarks(audit: Audit) -> Iterator[Remark]:
    """A line for each finding that a user should have seen."""
    for finding in audit.findings:
        done = auditing_effect(finding)
        if finding.kind in ("unreadable", "not_an_image"):
            first = finding.files[0]
            done += f", the first {first.names[0]}: {first.detail}"
        yield Remark(f"{TITLES[finding.kind]}: {finding.text}{f'; {done}' if done else ''}")
    for sentence in audit.unseen:
        yield Remark(sentence)
