"""A newcomer's way with a dirty folder: init, check, run, report, export, predict."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.cli.conftest import command, only_line

SIDES = {"Dreieck ▲": 3, "my squares": 4, "hexagons": 6}
PER_CLASS = 16


def draw(sides: int, seed: int) -> Image.Image:
    """A regular polygon of random colour, place and size on a noisy ground, not square."""
    rng = np.random.default_rng((sides, seed))
    ground = rng.integers(0, 90, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(ground)
    where = (*rng.integers((25, 22), (55, 38)), rng.integers(12, 20))
    colour = tuple(rng.integers(120, 255, 3).tolist())
    circle = tuple(int(x) for x in where)
    ImageDraw.Draw(picture).regular_polygon(circle, sides, int(rng.integers(360)), fill=colour)
    return picture


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own")
    photos = place / "my photos"
    for name, sides in SIDES.items():
        (photos / name).mkdir(parents=True)
        for n in range(PER_CLASS):
            draw(sides, n).save(photos / name / f"picture {n}.{'PNG' if n % 2 else 'jpg'}")
    squares = photos / "my squares"
    (squares / "cut short.jpg").write_bytes((squares / "picture 0.jpg").read_bytes()[:300])
    (squares / "notes.txt").write_text("from the shared drive")
    shutil.copy(squares / "picture 1.PNG", squares / "again.PNG")
    shutil.copy(photos / "hexagons" / "picture 1.PNG", squares / "whose.PNG")
    return place


def answer(folder: Path, *arguments: str, code: int = 0) -> Any:
    done = command(*arguments, cwd=folder, TLSEARCH_CACHE=str(folder / "cache"))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.mark.slow
def test_from_a_folder_to_answers(folder: Path) -> None:
    result = answer(folder, "init", "my photos", "--weights", "none", "--size", "32").stdout
    assert f"{3 * PER_CLASS + 3} images in 3 classes" in result

    # The picture under two labels stops the study; the message says what to write.
    refused = answer(folder, "check", "study.yaml", "--files", "found.csv", code=2)
    assert "data.audit.conflicting_labels" in refused.stderr
    assert "conflicting_labels: drop" in refused.stderr
    found = list(csv.DictReader((folder / "found.csv").read_text(encoding="utf-8").splitlines()))
    kinds = {(row["kind"], row["file"]) for row in found}
    assert ("unreadable", "my squares/cut short.jpg") in kinds
    assert ("conflicting_labels", "my squares/whose.PNG") in kinds
    assert ("conflicting_labels", "hexagons/picture 1.PNG") in kinds
    assert ("exact_duplicates", "my squares/again.PNG") in kinds

    study = (folder / "study.yaml").read_text(encoding="utf-8")
    (folder / "study.yaml").write_text(
        study.replace(
            "  labels_per_class:", "  audit: {conflicting_labels: drop}\n  labels_per_class:"
        )
    )
    checked = json.loads(only_line(answer(folder, "check", "study.yaml", "--json").stdout))
    assert checked["audit"]["num_images"] - checked["audit"]["num_used"] == 3
    assert not (folder / "mlruns").exists()

    options = ("--preset", "small", "--set", "budget.trials=1", "--set", "budget.epochs=2")
    options = (*options, "--set", "baselines=false", "--set", "space.warmup_epochs=0")
    options = (*options, "--set", "workers=1", "--set", "search.pruner=none")
    ran = json.loads(only_line(answer(folder, "run", "study.yaml", *options, "--json").stdout))
    assert ran["test"]["accuracy"]["num_images"] > 0
    assert ran["trials"] == {"complete": 1, "pruned": 0, "failed": 0, "diverged": 0}

    report = answer(folder, "report", "study.yaml", *options, "-o", "report.md", "--format", "md")
    assert report.stdout.strip() == "report.md"
    text = (folder / "report.md").read_text(encoding="utf-8")
    for word in ("exact duplicates", "cut short.jpg", "Dreieck ▲"):
        assert word in text

    answer(folder, "export", "study.yaml", *options, "-o", "model.pt2")
    predicted = answer(folder, "predict", "model.pt2", "my photos", code=1)  # one cannot be read
    rows = list(csv.DictReader(predicted.stdout.splitlines()))
    assert len(rows) == 3 * PER_CLASS + 4
    assert {row["label"] for row in rows if not row["error"]} <= set(SIDES)
    broken = [Path(row["path"]).name for row in rows if row["error"]]
    assert broken == ["cut short.jpg", "notes.txt"]
