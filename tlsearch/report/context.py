"""From the stores to one object from which every format is made, read in one pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.cost import giga_macs
from tlsearch.config.paths import Layout
from tlsearch.config.resolved import redacted, to_yaml
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import Choice, Dimension, Range, in_words
from tlsearch.execution.runs import RunRow
from tlsearch.report.answer import Answer, find_answer
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.evaluation import (
    Evaluation,
    Examples,
    Scores,
    find_evaluation,
    find_examples,
    find_scores,
)
from tlsearch.report.images import Images, find_images
from tlsearch.report.importances import Importances, find_importances
from tlsearch.report.wording import Absent, count, duration
from tlsearch.search.collect import tables_of
from tlsearch.search.confirm import best_first, maximises
from tlsearch.search.history import start_record
from tlsearch.search.provenance import git_revision, versions
from tlsearch.search.store import AUDIT, FACTS, ORIGIN, SIMILARITY, Store
from tlsearch.search.summary import (
    NetworkRanking,
    Summary,
    network_scores,
    rank_networks,
    summarise,
)

_PASSES = 3
"""Forward, and backward by weights and by inputs."""


class Provenance(NamedTuple):
    """Where the study comes from and what it cost.

    `command` is the command that was really given; `versions` and `revision` are of that moment if
    `is_noted`, else of the one when the report is made, and `cores` is None. `giga_macs` counts
    multiply-adds of all trainings in 10⁹ as if every layer were trained on every image. `seconds`
    are of training, added over workers; `as_of` is when the last run ended.
    """

    study_yaml: str
    command: str | None
    versions: Mapping[str, str]
    revision: str | None
    cores: int | None
    is_noted: bool
    facts: Mapping[str, Any]
    seeds: Mapping[str, str]
    image_size: int
    trainings: int
    images_trained: int
    giga_macs: float
    seconds: float
    as_of: str | None

    @property
    def cost(self) -> str:
        """What the trainings took, as far as it costs energy."""
        size = self.image_size
        return (
            f"{count(self.trainings, 'training')}, {self.images_trained:,} images of "
            f"{size}\u00a0×\u00a0{size} pixels seen, {duration(self.seconds)} of training added "
            f"over workers; at most {_macs(self.giga_macs)} multiply-adds, if every layer had been "
            "trained on every image"
        )

    @property
    def machine(self) -> str:
        """What it ran on, as far as it is known."""
        parts = [
            self.facts.get("device") and f"on {self.facts['device']}",
            self.cores and count(self.cores, "core"),
            self.facts.get("precision") and f"number format {self.facts['precision']}",
        ]
        return ", ".join(str(part) for part in parts if part)

    def as_json(self) -> dict[str, Any]:
        """The same for scripts, without the study itself."""
        facts = self.facts
        return {
            "command": self.command,
            "versions": dict(self.versions),
            "revision": self.revision,
            "noted_while_running": self.is_noted,
            "fingerprints": {n: facts[n] for n in ("data", "split", "weights") if n in facts},
            "weights": facts.get("networks", {}).get("origin", {}),
            "device": facts.get("device"),
            "precision": facts.get("precision"),
            "cores": self.cores,
            "seeds": dict(self.seeds),
            "trainings": self.trainings,
            "images_trained": self.images_trained,
            "giga_macs_at_most": round(self.giga_macs, 3),
            "training_seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """All that any format says of a search. `ranked` holds the complete trials, best first.

    `groups` are the layer groups of the network; of several, of that of the best trial.
    `networks` is None for a study on one network; `similarity` holds `SIMILARITY_FIGURES`, or
    nothing where it was not measured. `start` is where the first trials are from (`start_record`).
    `space` tells each searched dimension in words.
    `missing` holds a sentence for each thing that should be there and is not.
    """

    config: StudyConfig
    summary: Summary
    ranked: tuple[RunRow, ...]
    maximise: bool
    groups: tuple[str, ...]
    space: Mapping[str, str]
    scores: Scores | Absent
    evaluation: Evaluation | Absent
    examples: Examples | Absent
    images: Images
    audit: Mapping[str, Any] | None
    networks: NetworkRanking | None
    similarity: Mapping[str, float | None]
    start: Sequence[Mapping[str, Any]]
    provenance: Provenance
    missing: tuple[str, ...]

    @property
    def name(self) -> str:
        """The study's name."""
        return self.summary.name

    @property
    def about(self) -> str | None:
        """What the study says of its purpose."""
        return self.config.about

    @cached_property
    def answer(self) -> Answer:
        """What the study found, in words."""
        return find_answer(self)

    @property
    def trials(self) -> tuple[RunRow, ...]:
        """The search's trials by number."""
        return tuple(row for row in self.summary.rows if row.run.role == "trial")

    @property
    def fixed(self) -> tuple[RunRow, ...]:
        """Baselines and confirmations, in the order in which they were asked for."""
        return tuple(row for row in self.summary.rows if row.run.role != "trial")

    @cached_property
    def baselines(self) -> Mapping[str, RunRow]:
        """The baselines on their first split by name, in the order of the study, as far as they
        were started; of a tuned one its best trial.
        """
        rows = [r for r in self.fixed if r.run.role == "baseline"]
        sign = 1 if self.maximise else -1
        rows.sort(
            key=lambda row: (-row.run.redraw, -math.inf if row.value is None else sign * row.value)
        )
        best = {row.run.name: row for row in rows}
        return {name: best[name] for name in self.config.baselines if name in best}

    @property
    def baseline_values(self) -> Mapping[str, float]:
        """The values of the baselines that were completed."""
        return {name: v for name, v in self.summary.baselines.items() if v is not None}

    @cached_property
    def importances(self) -> Importances | Absent:
        """Which dimensions the values depended on."""
        return find_importances(self.config, self.study_of(self.ranked))

    def course(self, row: RunRow) -> Mapping[int, float]:
        """What the pruner saw of a run: its value by epoch, or the mean so far by fold."""
        metric = self.summary.metric
        if row.folds:
            return {fold.fold: getattr(fold, f"mean_{metric}") for fold in row.folds}
        if len(row.run.folds) > 1:  # it ended in its first fold
            return {}
        return {epoch.epoch: getattr(epoch, metric) for epoch in row.epochs}

    def study_of(
        self, rows: Sequence[RunRow], *, numbers: Sequence[int] | None = None
    ) -> optuna.Study:
        """A study in memory that holds these runs under `numbers`, or under their own, for what
        Optuna computes and draws. Numbers without a run are of failed trials without settings.
        """
        study = optuna.create_study(direction="maximize" if self.maximise else "minimize")
        distributions = {n: _distribution(d) for n, d in self.config.searched().items()}
        found = dict(zip(numbers or [row.number for row in rows], rows, strict=True))
        for number in range(max(found, default=-1) + 1):
            row = found.get(number)
            if row is None:
                study.add_trial(create_trial(state=TrialState.FAIL))
                continue
            params = {n: v for n, v in row.sampled.items() if n in distributions}
            trial = create_trial(
                state=_STATES.get(row.state, TrialState.FAIL),
                value=row.value if row.state == "complete" else None,
                params=params,
                distributions={name: distributions[name] for name in params},
                intermediate_values=dict(self.course(row)),
            )
            trial.datetime_start, trial.datetime_complete = row.started, row.ended
            study.add_trial(trial)
        return study


Report = SearchReport | ComparisonReport

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED}


def _distribution(dimension: Dimension) -> BaseDistribution:
    match dimension:
        case Choice(values):
            return CategoricalDistribution(values)
        case Range(low, high, log, step) if dimension.whole:
            return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
        case Range(low, high, log, step):
            return FloatDistribution(low, high, log=log, step=step)
    raise AssertionError("a fixed dimension is not searched")


def read_report(store: Store, layout: Layout) -> Report:
    """Read all that a report needs; nothing is created, and a missing file is named."""
    if store.config.comparison is not None:
        return ComparisonReport(tables_of(store, layout.study(store.config.name)))
    return read_search(store, layout)


def read_search(store: Store, layout: Layout) -> SearchReport:
    """The report of a study that searches."""
    config = store.config
    summary = summarise(store, layout)
    facts = store.noted(FACTS) or {}
    names = facts.get("facts", {}).get("class_names")
    class_names, folder = tuple(map(str, names)) if names else None, layout.study(config.name)
    scores = find_scores(summary, folder, class_names)
    evaluation, missing = find_evaluation(summary, folder, scores)
    examples = find_examples(summary, folder, class_names)
    if summary.test and isinstance(examples, Absent):
        missing.append(examples.reason)
    if not facts:
        missing.append("The data have not been read yet: their fingerprint is not known.")
    maximise = maximises(config)
    return SearchReport(
        config=redacted(config),
        summary=summary,
        ranked=tuple(best_first(summary.rows, maximise=maximise)),
        maximise=maximise,
        groups=groups(CATALOGUE[_shown_network(config, summary)]),
        space={name: in_words(d) for name, d in config.searched().items()},
        scores=scores,
        evaluation=evaluation,
        examples=examples,
        images=find_images(facts, store.noted(AUDIT)),
        audit=store.noted(AUDIT),
        networks=rank_networks(config, summary.rows, network_scores(store)),
        similarity=store.noted(SIMILARITY) or {},
        start=start_record(store),
        provenance=find_provenance(store, summary),
        missing=tuple(missing),
    )


def find_provenance(store: Store, summary: Summary) -> Provenance:
    """From what was noted while the study ran, and all its runs."""
    config = store.config
    origin = store.noted(ORIGIN) or {}
    ends = [row.ended for row in summary.rows if row.ended is not None]
    return Provenance(
        study_yaml=to_yaml(redacted(config)),
        command=origin.get("command"),
        versions=origin.get("versions") or versions(),
        revision=origin["revision"] if origin else git_revision(),
        cores=origin.get("cores"),
        is_noted=bool(origin),
        facts=store.noted(FACTS) or {},
        seeds=_seeds(config),
        image_size=config.data.size,
        trainings=sum(bool(row.epochs) for row in summary.rows),
        images_trained=sum(row.images_trained for row in summary.rows),
        giga_macs=_PASSES
        * sum(
            row.images_trained
            * giga_macs(CATALOGUE[row.run.backbone or config.backbone.name], config.data.size)
            for row in summary.rows
        ),
        seconds=sum(row.seconds for row in summary.rows),
        as_of=f"{max(ends):%Y-%m-%d %H:%M}" if ends else None,
    )


def _seeds(config: StudyConfig) -> dict[str, str]:
    first, number = config.search.seed, config.confirm.seeds
    found = {"split": str(config.data.split.seed), "search": str(first)}
    if number:
        found["confirmation"] = ", ".join(str(first + i) for i in range(1, number + 1))
    return found


def _macs(number: float) -> str:
    """`3.1 · 10¹²` in words that every reader knows."""
    for unit, name in ((1e6, "quadrillion"), (1e3, "trillion"), (1, "billion")):
        if number >= unit:
            return f"{number / unit:,.3g} {name}"
    return f"{1000 * number:,.3g} million"


def _shown_network(config: StudyConfig, summary: Summary) -> str:
    """The only network, or of several that of the best trial so far."""
    names = config.backbone.names
    return summary.best.run.backbone if summary.best and len(names) > 1 else names[0]
