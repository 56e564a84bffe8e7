"""What the winner says of the images: scores, right and wrong answers by class, and pictures.

Files may be missing or cut short: what is found then says so, and nothing is raised.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from tlsearch.config.paths import evaluation_path, examples_path, scores_path
from tlsearch.metrics.curves import class_scores, confusion_matrix
from tlsearch.report.wording import Absent, percent
from tlsearch.search.summary import Summary


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


# Pictures of what the winner got wrong and right, and of what it trained on.


_PICTURE = re.compile(r"data:image/(png|jpeg);base64,[A-Za-z0-9+/]+=*")


class Shown(NamedTuple):
    """An image of the test part and what the winner says of it."""

    image: str
    name: str
    true: str
    predicted: str
    probability: str

    @property
    def alt(self) -> str:
        """The picture in words."""
        return f"{self.name}: true {self.true}, predicted {self.predicted} at {self.probability}"


class Trained(NamedTuple):
    """A training image: as it is, then as the winner saw it in its first epochs."""

    name: str
    true: str
    images: tuple[str, ...]


class Examples(NamedTuple):
    """Pictures as data URIs. `wrong` are the surest of `num_wrong` mistakes in `num_images`."""

    num_images: int
    num_wrong: int
    num_classes: int
    wrong: tuple[Shown, ...]
    right: tuple[Shown, ...]
    training: tuple[Trained, ...]

    @property
    def num_epochs(self) -> int:
        """Views of each training image; 0 where the winner leaves them as they are."""
        return min((len(row.images) for row in self.training), default=1) - 1

    @property
    def mistakes(self) -> str:
        """What is shown of the mistakes, in a sentence."""
        if not self.num_wrong:
            return f"All {self.num_images:,} test images are right."
        shown = len(self.wrong)
        which = "all of them" if shown == self.num_wrong else f"the {shown} that it was surest of"
        return (
            f"{self.num_wrong:,} of {self.num_images:,} test images are classified wrongly by the "
            f"exported model; here are {which}, the surest first. Look at them: a label may be "
            "wrong, or a picture show two classes."
        )


def find_examples(
    summary: Summary, folder: Path, class_names: Sequence[str] | None
) -> Examples | Absent:
    """The champion's pictures; the file may be missing or cut short, and nothing is raised."""
    if not summary.test:
        return Absent("Pictures are kept once the test part is scored.")
    path = examples_path(folder, summary.test["champion"])
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Examples(
            num_images=int(content["num_images"]),
            num_wrong=int(content["num_wrong"]),
            num_classes=int(content["num_classes"]),
            wrong=tuple(_answer(row, class_names) for row in content["wrong"]),
            right=tuple(_answer(row, class_names) for row in content["right"]),
            training=tuple(_trained(row, class_names) for row in content["training"]),
        )
    except FileNotFoundError:
        return Absent(
            f"{path} is missing, so there are no pictures: running the study again makes them, as "
            "long as its images are where they were."
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        return Absent(
            f"{path} cannot be read ({type(error).__name__}), so there are no pictures: delete it "
            "and run the study again."
        )


def _answer(row: Mapping[str, Any], names: Sequence[str] | None) -> Shown:
    return Shown(
        image=_checked(row["image"]),
        name=_name(row),
        true=_class(row["true"], names),
        predicted=_class(row["predicted"], names),
        probability=percent(float(row["probability"])),
    )


def _trained(row: Mapping[str, Any], names: Sequence[str] | None) -> Trained:
    return Trained(_name(row), _class(row["true"], names), tuple(map(_checked, row["images"])))


def _name(row: Mapping[str, Any]) -> str:
    return str(row["name"]) if row["name"] is not None else f"image {int(row['row'])}"


def _class(index: Any, names: Sequence[str] | None) -> str:
    known = names is not None and 0 <= int(index) < len(names)
    return str(names[int(index)]) if names is not None and known else f"class {int(index)}"


def _checked(text: Any) -> str:
    """A picture and nothing else: the page puts it where an address stands."""
    if not isinstance(text, str) or not _PICTURE.fullmatch(text):
        raise ValueError("no picture")
    return text
