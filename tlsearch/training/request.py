"""What a training is asked to do with which images, and the digest that tells requests apart."""

from hashlib import blake2b
from typing import NamedTuple

import numpy as np

from tlsearch.training.batches import Pixels

STATE_LAYOUT = 4
"""Goes up when `Trainer.state` changes; older checkpoints then count as absent."""


class TrainingData(NamedTuple):
    """The images of a study and which of them train and validate; indices ascend. `weights` (N,)
    are of the training loss, or None for all alike.
    """

    pixels: Pixels
    train: np.ndarray
    validation: np.ndarray
    num_classes: int
    weights: np.ndarray | None


def fingerprint(data: TrainingData, *request: object) -> str:
    """Digest of the request; a state goes with no other, whatever the name of its file.

    `request` are values whose text says all of them, as a plan's does.
    """
    digest = blake2b(repr((STATE_LAYOUT, data.num_classes, *request)).encode(), digest_size=16)
    for rows in (data.train, data.validation):
        digest.update(rows.tobytes() + data.pixels.labels[rows].tobytes())
    if data.weights is not None:
        digest.update(data.weights[data.train].tobytes())
    return digest.hexdigest()
