"""`tlsearch export` and `tlsearch predict`: a study's model as one file, and its answers."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

import numpy as np
from rich.console import Console

from tlsearch.api import load_model
from tlsearch.cli.console import progress
from tlsearch.config.paths import atomic_write, expanded
from tlsearch.data.folder import find_files, is_named_as_image
from tlsearch.errors import RequestError, WorkError
from tlsearch.models.predict import Prediction

if TYPE_CHECKING:
    from tlsearch.models.facts import ModelFacts
    from tlsearch.search.export import Exported

Format = Literal["pt2", "onnx"]


def chosen_format(named: Format | None, output: Path | None) -> Format:
    """The format that was named, or that of the file's ending, or pt2.

    Raises:
        RequestError: the two disagree, or the ending is another.
    """
    ending = output.suffix.removeprefix(".").lower() if output else named or "pt2"
    if ending not in ("pt2", "onnx"):
        wanted = f".{named}" if named else ".pt2 or .onnx"
        raise RequestError(f"--output = {output}: a model's file ends in {wanted}")
    if named and ending != named:
        raise RequestError(f"--output = {output}: ends in .{ending}, but --format is {named}")
    return cast(Format, ending)


def show_export(exported: "Exported") -> None:
    """What was written, how it compares, and what it takes."""
    console = Console(highlight=False, markup=False, emoji=False)
    facts, test = exported.facts, exported.facts.test
    fields = facts.as_json()
    trained = facts.run if facts.trial is None else f"trial {facts.trial} ({facts.run})"
    lines = [
        f"{exported.path}  {exported.num_bytes / 2**20:.1f} MiB",
        f"model        {facts.study}, {trained}, {facts.backbone}",
        f"test part    accuracy {test['mean']:.4f} (95 % interval {test['low']:.4f} … "
        f"{test['high']:.4f}) over {test['num_images']} images",
        f"input        {fields['input']}; images are resized by: {facts.fit}",
        f"output       {fields['output']}",
        f"checked      as {exported.kind} a probability differs by at most "
        f"{exported.checked.largest:.1e}, on {exported.num_images} {exported.images}",
    ]
    if exported.halved:
        changed, total = exported.halved.changed, exported.num_images
        lines.append(
            f"half         against full weights a probability differs by at most "
            f"{exported.halved.largest:.1e}; {changed} of {total} decisions change"
        )
    for line in lines:
        console.print(line, soft_wrap=True)


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
    """Predict and write each answer as it comes.

    Raises:
        RequestError: the model is none, or nothing was named that could be an image.
        WorkError: some images could not be read; all the others are answered.
    """
    paths = find_files(images)  # what is named wrongly is reported before the model is opened
    opened = load_model(model)
    first = next(paths, None)
    if first is None:
        raise RequestError(f"{', '.join(images)}: no image found, by the suffixes that images have")
    if output is not None and output.is_dir():
        raise RequestError(f"--output = {output}: is a folder — name a file")
    facts = opened.facts
    top = min(top, len(facts.class_names))
    answers = opened.answers(chain([first], paths), batch_size=batch_size)
    counts = Counter[str]()
    folders = [place for name in images if (place := expanded(name)).is_dir()]
    answers = _counted(answers, counts, folders)
    rows = (_row(answer, facts, top, probabilities) for answer in answers)
    with _opened(output) as file:
        if as_json:  # one object, its items written while they come
            file.write(f'{{"model": {json.dumps(facts.as_json())}, "predictions": [')
            for number, row in enumerate(rows):
                file.write(f"{',' if number else ''}\n  {json.dumps(row)}")
            ending = {name: counts[name] for name in ("images", "unreadable")}
            file.write(f"\n], {json.dumps(ending)[1:]}\n")
        else:
            _write_csv(file, rows, facts, top, probabilities)
    if unreadable := counts["unreadable"]:
        were = "image" if unreadable == 1 else "images"
        raise WorkError(
            f"{unreadable} {were} of {counts['images']} could not be read; each has a row with its "
            "error"
        )


def _counted(
    answers: Iterable[Prediction[Path]], counts: Counter[str], folders: Sequence[Path]
) -> Iterator[Prediction[Path]]:
    """The same, counted for the summary and on a terminal's stderr; what lies in one of the folders
    and is not called an image is no failure if it is none.
    """
    with progress(total=None) as on_progress:
        for answer in answers:
            counts["images"] += 1
            by_the_way = not is_named_as_image(answer.item.name) and any(
                answer.item.is_relative_to(folder) for folder in folders
            )
            counts["unreadable"] += bool(answer.error) and not by_the_way
            on_progress(counts["images"], f"{counts['images']:,} images")
            yield answer


def _row(found: Prediction[Path], facts: "ModelFacts", top: int, every: bool) -> dict[str, Any]:
    """An answer as JSON holds it; of equal probabilities the first class goes first."""
    row = {"path": str(found.item), "label": None, "probability": None}
    if found.probabilities is None:
        return {**row, "error": found.error}
    names, values = facts.class_names, [float(f"{p:.6g}") for p in found.probabilities]
    order = np.argsort(-found.probabilities, kind="stable")[:top].tolist()
    best = [{"label": names[i], "probability": values[i]} for i in order]
    return {
        **row,
        **best[0],
        **({"top": best} if top > 1 else {}),
        **({"probabilities": dict(zip(names, values, strict=True))} if every else {}),
    }


def _write_csv(
    file: TextIO, rows: Iterable[dict[str, Any]], facts: "ModelFacts", top: int, every: bool
) -> None:
    more = [f"{what}{n}" for n in range(2, top + 1) for what in ("label", "probability")]
    classes = [f"p:{name}" for name in facts.class_names] if every else []
    columns = ["path", "label", "probability", *more, *classes, "error"]
    lines = csv.DictWriter(file, columns, restval="", lineterminator="\n")
    lines.writeheader()
    for row in rows:
        cells = {"path": row["path"], "error": row.get("error", "")}
        for n, one in enumerate(row.get("top", [] if row["label"] is None else [row]), 1):
            number = n if n > 1 else ""
            cells[f"label{number}"] = one["label"]
            cells[f"probability{number}"] = f"{one['probability']:.6g}"
        cells |= {f"p:{name}": f"{p:.6g}" for name, p in row.get("probabilities", {}).items()}
        lines.writerow(cells)


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
