"""A few pictures for the report: what the winner got wrong and right, and what it trained on.

They are kept as data URIs when the test part is scored. A report then needs neither the images,
which may have moved since, nor torch to draw their views, and decodes nothing.
"""

import base64
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from tlsearch.data.images import ImageSet

NUM_WRONG, NUM_RIGHT = 18, 12
NUM_TRAINED, NUM_EPOCHS = 4, 6
SIDE = 96
"""Pixels of the longer side: larger pictures are shrunk, for some 60 of them share 300 kB."""
_LOSSLESS_BYTES = 2500
"""Drawings and small pictures are kept as they are; what takes more bytes goes as JPEG."""
_QUALITY = 80


class Chosen(NamedTuple):
    """Places in the test part: `wrong`, the surest first; `right`, at most one of each class."""

    wrong: np.ndarray
    right: np.ndarray
    num_wrong: int


def choose(labels: np.ndarray, probabilities: np.ndarray) -> Chosen:
    """Pick from labels (N,) and probabilities (N, K).

    Of the right answers of a class the one of median probability stands for it, so that it is no
    showpiece; of many classes, those with most mistakes come, in their order.
    """
    said = probabilities.argmax(axis=1)
    sure = probabilities.max(axis=1)
    wrong = np.flatnonzero(said != labels)
    surest = wrong[np.argsort(-sure[wrong], kind="stable")]
    mistakes = np.bincount(labels[wrong], minlength=probabilities.shape[1])
    found = np.intersect1d(labels[said == labels], np.arange(probabilities.shape[1]))
    shown = np.sort(found[np.argsort(-mistakes[found], kind="stable")][:NUM_RIGHT])
    right = [_typical(np.flatnonzero((said == labels) & (labels == k)), sure) for k in shown]
    return Chosen(surest[:NUM_WRONG], np.array(right, dtype=np.int64), len(wrong))


def first_of_classes(labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A few of the training rows, ascending: one of each of the first classes, or more of them
    where there are few classes.
    """
    _, first = np.unique(labels[rows], return_index=True)
    others = np.setdiff1d(np.arange(len(rows)), first)
    return np.sort(rows[np.concatenate([first, others])[:NUM_TRAINED]])


def as_json(
    data: ImageSet,
    *,
    rows: np.ndarray,
    probabilities: np.ndarray,
    trained: np.ndarray,
    views: np.ndarray,
) -> dict[str, Any]:
    """What is kept: answers on the test part, whose `probabilities` (N, K) are of `rows` (N,), and
    `views`, uint8 (M, 1 + epochs, H, W, 3), of the training rows `trained` (M,): each as it is,
    then as training has it in its first epochs.
    """
    chosen = choose(data.labels[rows], probabilities)

    def answer(place: int) -> dict[str, Any]:
        row = int(rows[place])
        return {
            **_known(data, row),
            "predicted": int(probabilities[place].argmax()),
            "probability": round(float(probabilities[place].max()), 4),
            "image": data_uri(data.images[row]),
        }

    return {
        "num_images": len(rows),
        "num_wrong": chosen.num_wrong,
        "num_classes": probabilities.shape[1],
        "wrong": [answer(place) for place in chosen.wrong],
        "right": [answer(place) for place in chosen.right],
        "training": [
            {**_known(data, int(row)), "images": [data_uri(image) for image in images]}
            for row, images in zip(trained, views, strict=True)
        ],
    }


def data_uri(image: np.ndarray) -> str:
    """A picture uint8 (H, W, 1 or 3) as text that a page holds."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    kind, content = "png", _written(picture, format="PNG", optimize=True)
    if len(content) > _LOSSLESS_BYTES:
        kind, content = "jpeg", _written(picture, format="JPEG", quality=_QUALITY, optimize=True)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _typical(places: np.ndarray, sure: np.ndarray) -> int:
    return int(places[np.argsort(sure[places], kind="stable")[(len(places) - 1) // 2]])


def _known(data: ImageSet, row: int) -> dict[str, Any]:
    name = None if data.files is None else str(data.files.names[row])
    return {"row": row, "name": name, "true": int(data.labels[row])}


def _written(picture: Image.Image, **how: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, **how)
    return buffer.getvalue()
