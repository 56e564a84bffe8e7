"""A model's answers for image files: decoded as for training, in batches, in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tlsearch.config.schema import Fit
from tlsearch.data.decode import Decoded, UnreadableImage, decode_image
from tlsearch.models.export import PortableModel

Decode = Callable[..., Decoded]


class Prediction(NamedTuple):
    """What a model says of a file: probabilities float32 (K,), or why there is no image in it."""

    path: Path
    probabilities: np.ndarray | None
    error: str


def predict(
    model: PortableModel, paths: Iterable[Path], *, batch_size: int, threads: int
) -> Iterator[Prediction]:
    """Answers in the order of `paths`. While a batch is computed, threads decode the next one;
    no more than two batches of small squares are kept.
    """
    facts, left = model.facts, iter(paths)
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        ahead: deque[tuple[Path, Future[np.ndarray | str]]] = deque()

        def fill() -> None:
            for path in islice(left, 2 * batch_size - len(ahead)):
                job = pool.submit(_pixels, path, facts.image_size, facts.fit)
                ahead.append((path, job))

        try:
            fill()
            while ahead:
                batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
                found = [(path, job.result()) for path, job in batch]
                fill()
                yield from _answers(model, found)
        finally:  # whoever stops listening need not wait for what was queued
            pool.shutdown(wait=False, cancel_futures=True)


def to_input(pixels: np.ndarray) -> np.ndarray:
    """From uint8 (N, S, S, C), C 1 or 3, to what models take: float32 (N, 3, S, S) in 0 … 1."""
    colours = np.broadcast_to(pixels, (*pixels.shape[:3], 3)).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(colours, dtype=np.float32) / np.float32(255)


def _pixels(path: Path, size: int, fit: Fit) -> np.ndarray | str:
    try:
        return decode_image(path, size=size, fit=fit).pixels
    except UnreadableImage as error:
        return str(error) or "unreadable"


def _answers(
    model: PortableModel, found: list[tuple[Path, np.ndarray | str]]
) -> Iterator[Prediction]:
    squares = [pixels for _, pixels in found if isinstance(pixels, np.ndarray)]
    answers = iter(model.probabilities(to_input(np.stack(squares))) if squares else ())
    for path, pixels in found:
        if isinstance(pixels, str):
            yield Prediction(path, None, pixels)
        else:
            yield Prediction(path, next(answers), "")
