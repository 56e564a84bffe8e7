"""From the stores to one object that holds everything a report shows, read in one pass."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from tlsearch.config.catalog import CATALOGUE, groups
from tlsearch.config.paths import Layout, evaluation_path, scores_path
from tlsearch.config.resolved import redacted
from tlsearch.config.schema import StudyConfig
from tlsearch.config.space import Choice, Dimension, Range
from tlsearch.execution.runs import RunRow
from tlsearch.metrics.curves import class_scores, confusion_matrix
from tlsearch.report.images import Examples, Images, find_examples, find_images
from tlsearch.report.importances import Importances, find_importances
from tlsearch.report.provenance import Provenance, find_provenance
from tlsearch.report.wording import Absent
from tlsearch.search.confirm import best_first, maximises
from tlsearch.search.store import AUDIT, FACTS, LIKENESS, Store
from tlsearch.search.summary import Foretold, Summary, foretold, network_scores, summarise

# What the winner said of every image of the test part.


class Scores(NamedTuple):
    """Labels int64 (N,) and probabilities (N, K) of one model, in the order of `classes`."""

    model: str
    classes: tuple[str, ...]
    labels: np.ndarray
    probabilities: np.ndarray


def find_scores(
    summary: Summary, folder: Path, class_names: tuple[str, ...] | None
) -> Scores | Absent:
    """The champion's scores; files may be missing or cut short, and nothing is raised."""
    if not summary.test:
        return Absent(
            "The test part has not been scored. Of the validation part counts alone are kept, and "
            "this needs the probabilities of every image."
        )
    path = scores_path(folder, summary.test["champion"])
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            labels, probabilities = file["labels"].astype(np.int64), file["probabilities"]
        num_images, num_classes = probabilities.shape
        if labels.shape != (num_images,) or not num_images or not num_classes:
            raise ValueError("labels and probabilities do not go together")
        if not 0 <= labels.min() <= labels.max() < num_classes:
            raise ValueError("a label is of no class")
        if not np.isfinite(probabilities).all():
            raise ValueError("a probability is no number")
    except FileNotFoundError:
        return Absent(f"{path} is missing: the test part's scores are not known image by image.")
    except (OSError, ValueError, TypeError, KeyError, BadZipFile, EOFError) as error:
        return Absent(f"{path} cannot be read ({type(error).__name__}).")
    if class_names is None or len(class_names) != num_classes:
        class_names = tuple(f"class {i}" for i in range(num_classes))
    return Scores(exported_model(summary), class_names, labels, probabilities)


def exported_model(summary: Summary) -> str:
    """What the model is that is exported and scored image by image, once there is one."""
    key = summary.test["champion"]
    label = next((row.run.label for row in summary.rows if row.run.key == key), key)
    return f"the exported model ({label})"


# What the winner gets right and wrong: of the test part, or of validation while there is no test.
#
# Files may be missing or cut short: the evaluation then says so, and nothing is raised.


class ClassRow(NamedTuple):
    """Scores of one class; `images` of it were scored."""

    name: str
    precision: float
    recall: float
    f1: float
    images: int


class Evaluation(NamedTuple):
    """Counts of one model: row = true class, column = predicted class, in the order of `classes`.

    `part` is "test" or "validation"; `model` says whose counts these are.
    """

    part: str
    model: str
    classes: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    per_class: tuple[ClassRow, ...]


def find_evaluation(
    summary: Summary, folder: Path, scores: Scores | Absent
) -> tuple[Evaluation | Absent, list[str]]:
    """The evaluation to show, and a sentence for each file that should be there and is not;
    `scores` are of the test part.
    """
    missing: list[str] = []
    if isinstance(scores, Scores):
        predictions = scores.probabilities.argmax(1)
        counts = confusion_matrix(scores.labels, predictions, num_classes=len(scores.classes))
        return _evaluation("test", scores.model, scores.classes, counts), missing
    if summary.test:
        missing.append(f"{scores.reason} What is shown per class is of the validation part.")
    if summary.best is None:
        return Absent("No trial has been completed, so no model has been evaluated."), missing
    key = summary.best.run.key
    found = of_validation(evaluation_path(folder, key), summary.best.run.label)
    if isinstance(found, Absent):
        missing.append(found.reason)
    return found, missing


def of_validation(path: Path, model: str) -> Evaluation | Absent:
    """The counts that a training left of its validation part; `model` is whose they are."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = tuple(str(name) for name in content["classes"])
        counts = np.array(content["confusion"], dtype=np.int64).reshape(len(names), len(names))
    except FileNotFoundError:
        return Absent(f"{path} is missing: the confusion matrix cannot be shown.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Absent(f"{path} cannot be read ({type(error).__name__}).")
    return _evaluation("validation", model, names, counts)


def _evaluation(part: str, model: str, names: tuple[str, ...], counts: np.ndarray) -> Evaluation:
    columns = (column.tolist() for column in class_scores(counts))
    return Evaluation(
        part=part,
        model=model,
        classes=names,
        confusion=tuple(tuple(row) for row in counts.tolist()),
        per_class=tuple(ClassRow(*row) for row in zip(names, *columns, strict=True)),
    )


@dataclass(frozen=True, kw_only=True)
class ReportData:
    """A study as the report shows it. `ranked` holds the complete trials, best first.

    `groups` are the layer groups of the network; of several, of that of the best trial.
    `networks` is None for a study on one network; `similarity` holds `SIMILARITY_FIGURES`, or
    nothing where it was not measured. `space` tells each searched dimension in words.
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
    networks: Foretold | None
    similarity: Mapping[str, float | None]
    provenance: Provenance
    missing: tuple[str, ...]

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
        """The baselines on the study's own split by name, in the order of the study, as far as they
        were started; of a tuned one its best trial.
        """
        rows = [r for r in self.fixed if r.run.role == "baseline" and r.run.redraw == 0]
        sign = 1 if self.maximise else -1
        rows.sort(key=lambda row: -math.inf if row.value is None else sign * row.value)
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


def read_report(store: Store, layout: Layout) -> ReportData:
    """Read all that a report needs; nothing is created, and a missing file is named."""
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
    return ReportData(
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
        networks=foretold(config, summary.rows, network_scores(store)),
        similarity=store.noted(LIKENESS) or {},
        provenance=find_provenance(store, summary),
        missing=tuple(missing),
    )


def _shown_network(config: StudyConfig, summary: Summary) -> str:
    """The only network, or of several that of the best trial so far."""
    names = config.backbone.names
    return summary.best.run.backbone if summary.best and len(names) > 1 else names[0]


def in_words(dimension: Dimension) -> str:
    """A searched dimension as a reader wants it: `0.0001 to 0.1, logarithmic`."""
    match dimension:
        case Choice(values):
            return ", ".join("none" if v is None else str(v) for v in values)
        case Range(low, high, log, step):
            tail = ", logarithmic" if log else f", in steps of {step:g}" if step else ""
            return f"{low:g} to {high:g}{tail}"
    return str(dimension.value)
