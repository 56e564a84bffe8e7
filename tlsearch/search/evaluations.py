"""How a training did on its validation part: a file beside the study, so that MLflow can be
completed from it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tlsearch.search.folder import evaluation_path, write_whole
from tlsearch.training.metrics import class_scores


def keep_evaluation(
    folder: Path, key: str, class_names: tuple[str, ...], confusion: Sequence[Sequence[int]]
) -> dict[str, Any]:
    """Write a run's evaluation; the artifacts that MLflow gets of it."""
    content = evaluation(class_names, confusion)
    write_whole(evaluation_path(folder, key), json.dumps(content))
    return {"evaluation.json": content}


def kept_evaluation(folder: Path, key: str) -> dict[str, Any]:
    """The same, as it was written; empty if it was not."""
    path = evaluation_path(folder, key)
    return {"evaluation.json": json.loads(path.read_text())} if path.exists() else {}


def evaluation(class_names: tuple[str, ...], confusion: Any) -> dict[str, Any]:
    """Confusion matrix (rows true, columns predicted) and scores per class, as JSON."""
    import numpy as np

    scores = class_scores(np.array(confusion))
    return {
        "classes": list(class_names),
        "confusion": [list(row) for row in confusion],
        "per_class": [
            {"class": name, "precision": p, "recall": r, "f1": f, "images": int(n)}
            for name, p, r, f, n in zip(class_names, *(s.tolist() for s in scores), strict=True)
        ],
    }
