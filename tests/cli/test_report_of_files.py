"""The report of a study of real image files, when they and its own files are there and gone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import command
from tests.cli.finished import CLASSES, Finished

pytestmark = pytest.mark.slow


def test_pictures_are_those_that_the_scores_name(finished: Finished) -> None:
    path = finished.study / "examples" / f"{finished.champion}.json"
    kept = json.loads(path.read_text())
    scores = finished.scores()
    wrong = scores["probabilities"].argmax(1) != scores["labels"]
    assert (kept["num_images"], kept["num_wrong"]) == (len(wrong), wrong.sum())
    place = {int(row): i for i, row in enumerate(scores["rows"])}
    assert finished.data.files is not None
    for answer in (*kept["wrong"], *kept["right"]):
        i = place[answer["row"]]
        assert answer["name"] == finished.data.files.names[answer["row"]]
        assert answer["true"] == scores["labels"][i]
        assert answer["predicted"] == scores["probabilities"][i].argmax()
        assert abs(answer["probability"] - scores["probabilities"][i].max()) < 1e-4
    assert [a["true"] for a in kept["right"]] == sorted({a["true"] for a in kept["right"]})
    trained = [row["row"] for row in kept["training"]]
    assert not np.isin(trained, np.concatenate([finished.validation, scores["rows"]])).any()
    assert all(len(row["images"]) == 1 for row in kept["training"])  # it augments nothing


def test_a_study_that_moved_is_reported_without_its_images(
    finished: Finished, tmp_path: Path
) -> None:
    shutil.copytree(finished.folder / "mlruns", tmp_path / "mlruns")
    shutil.rmtree(tmp_path / "mlruns" / "cache")
    shutil.copy(finished.folder / "study.yaml", tmp_path)
    command("report", "study.yaml", "-o", "r.html", cwd=tmp_path)
    page = (tmp_path / "r.html").read_text()
    assert "What is missing" not in page
    assert page.count("data:image/png;base64,") >= len(CLASSES)
    assert "tlsearch run study.yaml --json" in page
