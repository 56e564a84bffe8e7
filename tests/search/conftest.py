from collections.abc import Callable
from pathlib import Path

import pytest

from tests.search.scenes import Scene, Tell, steady
from tlsearch.config.loader import read_study
from tlsearch.config.schema import StudyConfig

HEAD = """
name: s
data: {source: digits, split: {test: 0.6}, labels_per_class: 2}
backbone: {name: resnet18, weights: none}
"""
BODY = """
budget: {trials: 4, epochs: 3}
search: {sampler: random, pruner: none}
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
confirm: {top: 2, seeds: 2}
"""

Study = Callable[..., StudyConfig]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A study of four trials of three epochs, with lines or overrides of one's own."""

    def make(*overrides: str, body: str = BODY, head: str = HEAD) -> StudyConfig:
        path = tmp_path / "study.yaml"
        path.write_text(head + body)
        return read_study(path, overrides=overrides, preset=None)

    return make


@pytest.fixture
def scene(study: Study, tmp_path: Path) -> Callable[..., Scene]:
    def make(story: Tell = steady, *overrides: str, workers: int = 1) -> Scene:
        return Scene(study(*overrides), tmp_path / "study", story, workers=workers)

    return make
