"""Files in, answers out, in order and in bounded memory."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.models.lively import facts_of
from tlsearch.models.predict import predict, to_input

SIZE = 8


class Grey:
    """Says how bright an image is, in two classes, and remembers what it was given."""

    facts = replace(facts_of("resnet18", image_size=SIZE, num_classes=2), fit="crop")

    def __init__(self) -> None:
        self.batches: list[np.ndarray] = []

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.batches.append(images)
        bright = images.mean((1, 2, 3))
        return np.stack([1 - bright, bright], 1)


def decode(path: Path) -> np.ndarray | str:
    """A square of the brightness that its name says; of two names, none."""
    n = int(path.stem)
    return "unreadable" if n in (2, 7) else np.full((SIZE, SIZE, 3), 25 * n, np.uint8)


PATHS = [Path(f"{n}.png") for n in range(9)]


@pytest.mark.parametrize(("batch_size", "threads"), [(1, 3), (4, 3), (64, 1)])
def test_answers_in_order(batch_size: int, threads: int) -> None:
    model = Grey()
    paths = iter(PATHS)
    found = list(predict(model, paths, decode=decode, batch_size=batch_size, threads=threads))
    assert [answer.path for answer in found] == PATHS
    assert [n for n, answer in enumerate(found) if answer.error] == [2, 7]
    assert all(a.probabilities is None for a in found if a.error)
    for n, answer in enumerate(found):
        if not answer.error:
            assert answer.probabilities == pytest.approx([1 - 25 * n / 255, 25 * n / 255], abs=1e-6)
    assert max(map(len, model.batches)) <= batch_size
    assert {batch.dtype for batch in model.batches} == {np.dtype(np.float32)}
    assert {batch.shape[1:] for batch in model.batches} == {(3, SIZE, SIZE)}


def test_no_more_than_two_batches_are_decoded_ahead() -> None:
    begun = answered = most = 0

    def endless() -> Iterator[Path]:
        nonlocal begun, most
        for n in range(500):
            begun += 1
            most = max(most, begun - answered)
            yield PATHS[n % 2]

    for _ in predict(Grey(), endless(), decode=decode, batch_size=5, threads=2):
        answered += 1
    assert (begun, answered) == (500, 500)
    assert most <= 3 * 5, "one batch is being answered while two more are decoded"


def test_whoever_leaves_early_leaves() -> None:
    decoded: list[Path] = []

    def noted(path: Path) -> np.ndarray | str:
        decoded.append(path)
        return decode(path)

    answers = predict(Grey(), iter(PATHS[:2] * 1000), decode=noted, batch_size=4, threads=1)
    next(answers)
    answers.close()
    assert len(decoded) <= 16


def test_input() -> None:
    pixels = np.zeros((1, 2, 2, 3), np.uint8)
    pixels[0, 0, 1] = (255, 51, 0)
    found = to_input(pixels)
    assert found.shape == (1, 3, 2, 2)
    assert found.dtype == np.float32
    assert found[0, :, 0, 1].tolist() == [1.0, np.float32(0.2), 0.0]
    grey = to_input(np.full((1, 2, 2, 1), 51, np.uint8))
    assert grey.shape == (1, 3, 2, 2)
    assert (grey == np.float32(0.2)).all()
    assert grey.flags.c_contiguous
