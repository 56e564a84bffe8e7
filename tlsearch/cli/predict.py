"""`tlsearch predict`: answers as CSV or one JSON object, written while they come."""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from tlsearch.config.cost import usable_cores
from tlsearch.config.paths import atomic_write, expanded
from tlsearch.data.decode import UnreadableImage, decode_image
from tlsearch.data.folder import find_images
from tlsearch.errors import RequestError, WorkError
from tlsearch.models.predict import Prediction, open_model, predict

if TYPE_CHECKING:
    from tlsearch.models.model_facts import ModelFacts


_MOST_THREADS = 8  # that decode; a guess: more wait for the model


class Writer:
    """Rows of CSV, or items of one JSON object."""

    def __init__(
        self, file: TextIO, facts: "ModelFacts", *, top: int, probabilities: bool, as_json: bool
    ) -> None:
        self._file, self._names = file, facts.class_names
        self._top, self._all, self._as_json = top, probabilities, as_json
        self._csv = csv.writer(file, lineterminator="\n")
        self._facts, self._count = facts, 0

    def begin(self) -> None:
        """The header."""
        if self._as_json:
            self._file.write(f'{{"model": {json.dumps(self._facts.as_json())}, "predictions": [')
            return
        more = [f"{what}{n}" for n in range(2, self._top + 1) for what in ("label", "probability")]
        every = [f"p:{name}" for name in self._names] if self._all else []
        self._csv.writerow(["path", "label", "probability", *more, *every, "error"])

    def add(self, found: Prediction) -> None:
        """One file."""
        if self._as_json:
            item = json.dumps(self._item(found))
            self._file.write(f"{',' if self._count else ''}\n  {item}")
        else:
            self._csv.writerow(self._row(found))
        self._count += 1

    def end(self, *, unreadable: int) -> None:
        """The counts."""
        if self._as_json:
            self._file.write(f'\n], "images": {self._count}, "unreadable": {unreadable}}}\n')

    def _row(self, found: Prediction) -> list[str]:
        if found.probabilities is None:
            empty = [""] * (2 * self._top + (len(self._names) if self._all else 0))
            return [str(found.path), *empty, found.error]
        best = _best(found.probabilities, self._top)
        ranked = [(self._names[i], _shown(found.probabilities[i])) for i in best]
        every = [_shown(p) for p in found.probabilities] if self._all else []
        return [str(found.path), *chain.from_iterable(ranked), *every, ""]

    def _item(self, found: Prediction) -> dict[str, Any]:
        path = str(found.path)
        if found.probabilities is None:
            return {"path": path, "label": None, "probability": None, "error": found.error}
        values = [float(_shown(p)) for p in found.probabilities]
        best = _best(found.probabilities, self._top)
        item: dict[str, Any] = {
            "path": path,
            "label": self._names[best[0]],
            "probability": values[best[0]],
        }
        if self._top > 1:
            item["top"] = [{"label": self._names[i], "probability": values[i]} for i in best]
        if self._all:
            item["probabilities"] = dict(zip(self._names, values, strict=True))
        return item


def run_predict(
    model: str,
    images: Sequence[str],
    *,
    output: Path | None,
    as_json: bool,
    batch_size: int,
    top: int,
    probabilities: bool,
) -> None:
    """Predict and write.

    Raises:
        RequestError: the model is none, or nothing was named that could be an image.
        WorkError: some images could not be read; all the others are answered.
    """
    paths = find_images(images)  # what is named wrongly is told before the model is opened
    opened = open_model(expanded(model))
    first = next(paths, None)
    if first is None:
        raise RequestError(f"{', '.join(images)}: no image found, by the suffixes that images have")
    if output is not None and output.is_dir():
        raise RequestError(f"--output = {output}: is a folder — name a file")
    top = min(top, len(opened.facts.class_names))
    threads = min(usable_cores(), _MOST_THREADS)
    facts = opened.facts
    answers = predict(
        opened,
        chain([first], paths),
        decode=lambda path: _pixels(path, facts),
        batch_size=batch_size,
        threads=threads,
    )
    count = unreadable = 0
    with _opened(output) as file:
        writer = Writer(file, facts, top=top, probabilities=probabilities, as_json=as_json)
        writer.begin()
        for answer in _watched(answers):
            writer.add(answer)
            count, unreadable = count + 1, unreadable + bool(answer.error)
        writer.end(unreadable=unreadable)
    if unreadable:
        were = "image" if unreadable == 1 else "images"
        raise WorkError(
            f"{unreadable} {were} of {count} could not be read; each has a row with its error"
        )


def _pixels(path: Path, facts: "ModelFacts") -> np.ndarray | str:
    """The image as the model was trained on its like, or why there is none."""
    try:
        return decode_image(path, size=facts.image_size, fit=facts.fit).pixels
    except UnreadableImage as error:
        return str(error) or "unreadable"


def _best(probabilities: np.ndarray, count: int) -> list[int]:
    """The most probable classes, of equals the first one first."""
    order: list[int] = np.argsort(-probabilities, kind="stable")[:count].tolist()
    return order


def _shown(probability: float) -> str:
    return f"{float(probability):.6g}"


def _watched(answers: Iterable[Prediction]) -> Iterator[Prediction]:
    """The same, counted on a terminal's stderr."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield from answers
        return
    count = TextColumn("{task.completed:,} images")
    with Progress(count, TimeElapsedColumn(), console=console, transient=True) as progress:
        task = progress.add_task("predicting", total=None)
        for answer in answers:
            progress.advance(task)
            yield answer


@contextmanager
def _opened(output: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that appears when it is whole. Names that are no UTF-8 pass as the
    bytes that they are.
    """
    if output is None:
        with suppress(AttributeError):  # of a stream that a test put there
            sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")  # type: ignore[union-attr]
        yield sys.stdout
        sys.stdout.flush()
        return
    with (
        atomic_write(output) as draft,
        draft.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        yield file
