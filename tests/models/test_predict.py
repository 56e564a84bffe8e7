"""Files in, answers out, in order and in bounded memory."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.models.lively import facts_of, lively_classifier
from tlsearch.data.decode import Decoding, decode_image
from tlsearch.models.predict import TorchModel, predict, to_input

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
    assert [answer.item for answer in found] == PATHS
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


DOCS = Path(__file__).parents[2] / "docs" / "model.md"


def turned(path: Path, picture: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture.convert("RGB").save(path, exif=exif, quality=95)


def transparent(path: Path, picture: Image.Image) -> None:
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(path, format="PNG")


@pytest.mark.parametrize("save", [turned, transparent])
def test_the_lines_in_the_docs_answer_as_predict_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save: Callable[[Path, Image.Image], None]
) -> None:
    facts = replace(facts_of("resnet18", image_size=32, num_classes=4), fit="crop")
    classifier = lively_classifier("resnet18", image_size=32, num_classes=4).eval()

    class Program:
        def module(self) -> nn.Module:
            return classifier

    def load(_path: str, *, extra_files: dict[str, str]) -> Program:
        extra_files["tlsearch.json"] = json.dumps(facts.as_json())
        return Program()

    noise = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((100, 75), Image.Resampling.BILINEAR)
    save(tmp_path / "photo.jpg", picture)
    (lines,) = (
        block.partition("```")[0]
        for block in DOCS.read_text(encoding="utf-8").split("```python")
        if "exif_transpose" in block
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.export, "load", load)
    found: dict[str, Any] = {}
    with torch.no_grad():
        exec(lines, found)

    def decode(path: Path) -> np.ndarray:
        return decode_image(path, Decoding(facts.image_size, facts.fit)).pixels

    (answer,) = predict(
        TorchModel(classifier, facts), [Path("photo.jpg")], decode=decode, batch_size=1, threads=1
    )
    assert answer.probabilities is not None
    pixels = to_input(decode(Path("photo.jpg"))[None])[0]
    assert abs(found["image"].numpy() - pixels).max() <= 1.01 / 255
    assert abs(found["probabilities"].numpy() - answer.probabilities).max() < 0.01
