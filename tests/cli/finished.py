"""A study of image files, small enough to be run to its end for the tests of what comes after."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from tests.cli.conftest import command, only_line
from tlsearch.config.loader import read_study
from tlsearch.config.schema import StudyConfig
from tlsearch.data import dataset as store
from tlsearch.data.dataset import ImageSet
from tlsearch.data.splits import draw_splits

STUDY = """\
name: tiny
data: {source: {folder: photos}, size: 32, split: {validation: 0.4, test: 0.3}}
backbone: {name: resnet18, weights: none}
budget: {trials: 1, epochs: 2}
workers: 1
precision: fp32
search: {sampler: random, pruner: none}
space: {lr: 1.0e-3, batch_size: 16, optimizer: {adam: {}}}
baselines: []
confirm: {top: 1, seeds: 1}
"""
CLASSES = ("zero", "one, \"1\"", "zwöi", "3")  # fmt: skip


class Finished:
    """The folder of a study that was run to its end, and what that run ended with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        digits = load_digits()
        for label, name in enumerate(CLASSES):
            (folder / "photos" / name).mkdir(parents=True)
            for n, image in enumerate(digits.images[digits.target == label][:30]):
                grey = Image.fromarray((15 * image).astype(np.uint8))
                # Not square, not of the study's size, and of names that a table must quote.
                grey.resize((40, 36)).save(folder / "photos" / name / f'é, "{n}".png')
        (folder / "study.yaml").write_text(STUDY)
        done = self.tlsearch("run", "study.yaml", "--json")
        self.result: dict[str, Any] = json.loads(only_line(done.stdout))

    def export(self) -> None:
        """Its model in both portable formats."""
        for kind in ("pt2", "onnx"):
            self.tlsearch("export", "study.yaml", "--format", kind)

    def tlsearch(self, *arguments: str, code: int = 0) -> Any:
        cache = str(self.folder / "cache")
        done = command(*arguments, cwd=self.folder, TLSEARCH_CACHE=cache)
        assert done.returncode == code, done.stderr
        return done

    @property
    def study(self) -> Path:
        return self.folder / "mlruns" / "studies" / "tiny"

    @property
    def champion(self) -> str:
        return str(self.result["test"]["champion"])

    @cached_property
    def config(self) -> StudyConfig:
        return read_study(self.folder / "study.yaml", overrides=[], preset=None)

    @cached_property
    def data(self) -> ImageSet:
        (place,) = (self.folder / "mlruns" / "cache" / "images").iterdir()
        return store.load(place)

    @cached_property
    def validation(self) -> np.ndarray:
        """Rows of the part that the champion was chosen on: its seed, 1, drew it."""
        (split,) = draw_splits(
            self.data, split=self.config.data.split, labels_per_class=None, redraw=1
        )
        return split.validation

    def files(self, rows: np.ndarray) -> list[str]:
        """The image files of some rows."""
        assert self.data.files is not None
        return [f"photos/{self.data.files.names[row]}" for row in rows]

    def scores(self) -> dict[str, np.ndarray]:
        """What the study's own scoring of the test part said."""
        with np.load(self.study / "scores" / f"{self.champion}.npz") as file:
            return dict(file)

    def inputs(self, rows: np.ndarray) -> np.ndarray:
        """Images as a model takes them, float32 (N, 3, S, S)."""
        pixels = self.data.images[rows].transpose(0, 3, 1, 2).astype(np.float32) / 255
        return np.ascontiguousarray(pixels)
