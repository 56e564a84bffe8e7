"""What the winner gets right and wrong: of the test part, or of validation while there is no test.

Files may be missing or cut short: the evaluation then says so, and nothing is raised.
"""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlsearch.report.absent import Absent
from tlsearch.report.scores import Scores
from tlsearch.search.folder import evaluation_path
from tlsearch.search.summary import Summary
from tlsearch.training.metrics import class_scores, confusion_matrix


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
    key = summary.best.spec.key
    found = of_validation(evaluation_path(folder, key), summary.best.spec.label)
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
