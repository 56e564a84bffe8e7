"""What the winner said of every image of the test part."""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np

from tlsearch.report.absent import Absent
from tlsearch.search.folder import scores_path
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
    model = summary.test["champion"]
    path = scores_path(folder, model)
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
    return Scores(model, class_names, labels, probabilities)
