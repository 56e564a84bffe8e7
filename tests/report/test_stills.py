"""Figures as PNG for the dashboards and the kept results."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.report.fake import fake_study, finished
from tests.report.test_build import HOSTILE
from tlsearch.comparison.answers import tables_of
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.context import read_search
from tlsearch.report.figures.model import Confusion
from tlsearch.report.stills import BEST_TRIALS, answer_still, draw_still, stills_of

RESULTS = Path(__file__).parents[2] / "studies" / "results"


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(BytesIO(png)).convert("RGB"))


def share(image: Any, red: int, green: int, blue: int) -> float:
    """The share of pixels of this colour."""
    return float((np.abs(image.astype(int) - (red, green, blue)).max(-1) < 12).mean())


def test_a_study_has_its_figures_and_those_of_its_best_trials(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=14)
    made = stills_of(read_search(fake.store, fake.layout), fake.folder)
    assert made.study.keys() == {"gains.png", "history.png", "curves.png", "confusion.png"}
    best = [row.run.key for row in read_search(fake.store, fake.layout).ranked]
    assert set(made.trials) == set(best[:BEST_TRIALS])
    for png in (*made.study.values(), *made.trials.values()):
        assert Image.open(BytesIO(png)).format == "PNG"
    history = pixels(made.study["history.png"])
    assert share(history, 0xD9, 0x73, 0x0D) > 0.0005, "the line of the best"
    assert share(history, 0x3B, 0x82, 0xC4) > 0.0005, "complete trials"


def test_a_study_without_runs_has_none(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    made = stills_of(read_search(fake.store, fake.layout), fake.folder)
    assert (made.study, made.trials) == ({}, {})


def test_cells_are_coloured_by_their_share_of_the_row() -> None:
    names = (*HOSTILE, "$\\frac{1$", "日本")
    counts = np.diag([5] * len(names))
    counts[0] = [2, 3, 0, 0, 0, 0]
    found = Confusion("test", "m", names, tuple(map(tuple, counts.tolist())), (), tuple(range(6)))
    image = pixels(draw_still(found, title="<b>$", height=560, dots=100))
    blue = ((image[..., 2].astype(int) - image[..., 0]) > 60).mean()
    orange = ((image[..., 0].astype(int) - image[..., 2]) > 60).mean()
    assert blue > 4 * orange > 0


@pytest.mark.parametrize("name", ["c13_backbone_choice", "split_strategies"])
def test_a_comparison_shows_its_answer(name: str) -> None:
    tables = tables_of(json.loads((RESULTS / f"{name}.json").read_text()))
    png = answer_still(ComparisonReport(tables), dots=60)
    assert png is not None
    assert share(pixels(png), 0xD9, 0x73, 0x0D) > 0.0005, "the second arm"
