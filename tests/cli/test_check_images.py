"""`tlsearch check` of a folder: what it says of the images."""

import csv
import json
from pathlib import Path

import pytest

from tests.cli.conftest import Files, Invoke
from tests.data.audit.made import jpeg, photo

STUDY = """\
name: s
data: {source: {folder: photos}, size: 32}
backbone: {name: resnet18, weights: none}
budget: {trials: 4, epochs: 2}
workers: 1
space: {lr: {low: 1.0e-3, high: 1.0e-1, log: true}}
confirm: {top: 1, seeds: 1}
"""


@pytest.fixture
def photos(here: Path) -> Path:
    """Two classes of ten, and one thing of each kind that is amiss."""
    (here / "study.yaml").write_text(STUDY)
    folder = here / "photos"
    for name in ("cat [1]", "dog"):
        (folder / name).mkdir(parents=True)
    for i in range(20):
        photo(i).save(folder / ("dog" if i % 2 else "cat [1]") / f"{i:02}.png")
    dogs = folder / "dog"
    (dogs / "copy.png").write_bytes((dogs / "01.png").read_bytes())
    jpeg(photo(3), 80).save(dogs / "near.png")
    (dogs / "[red]empty.jpg").write_bytes(b"")
    (dogs / "notes.txt").write_text("no image")
    return folder


def test_the_findings_are_told(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml").stdout
    for line in (
        "images: 22, 21 of them used",
        "unreadable files: 1 file that cannot be decoded → 1 left out (unreadable: drop)",
        "dog/[red]empty.jpg (",
        "files that are no images: 1 file",
        "exact duplicates: 1 image that repeats another under the same label → 1 left out",
        "dog/01.png, dog/copy.png (dog)",
        "near duplicates: 2 images that look alike, in 1 group of up to 2 → kept; a split by lot",
        "add --label-errors here",
        "trainings: 4 trials, 3 for baselines",
    ):
        assert line in text
    lines = [line.split() for line in text.splitlines()]
    assert ["cat", "[1]", "10", "6", "2", "2"] in lines
    assert ["all", "21", "13", "4", "4"] in lines
    assert "images per class" in text
    assert "first of" not in text
    crossed = tlsearch("check", "study.yaml", "--set", "data.split.folds=3").stdout
    assert "images per class, first of 3 folds" in crossed


def test_nothing_is_written_here_and_the_second_time_nothing_is_decoded(
    photos: Path, here: Path, files: Files, tlsearch: Invoke
) -> None:
    before = {name for name in files() if not name.startswith("cache")}
    first = tlsearch("check", "study.yaml").stdout
    after = files()
    assert {name for name in after if not name.startswith("cache")} == before
    stored = {name: time for name, time in after.items() if name.endswith(".npy")}
    assert stored
    assert tlsearch("check", "study.yaml").stdout == first
    assert {name: time for name, time in files().items() if name.endswith(".npy")} == stored
    assert photos.parent == here


def test_as_json(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    told = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    audit = told["audit"]
    kinds = [finding["kind"] for finding in audit["findings"]]
    assert kinds == ["unreadable", "not_an_image", "exact_duplicates", "near_duplicates"]
    assert audit["findings"][2]["files"] == [
        {"names": ["dog/01.png", "dog/copy.png"], "detail": "dog"}
    ]
    assert audit["class_counts"] == {"cat [1]": 10, "dog": 11}
    assert audit["parts"] == {"train": [6, 7], "validation": [2, 2], "test": [2, 2]}
    assert told["estimate"]["train_images"] > 0


def test_the_files_as_a_table(photos: Path, here: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    tlsearch("check", "study.yaml", "--files", "list.csv")
    rows = list(csv.DictReader((here / "list.csv").read_text(encoding="utf-8").splitlines()))
    assert {"dog/[red]empty.jpg", "dog/notes.txt", "dog/near.png"} <= {r["file"] for r in rows}
    assert [(r["group"], r["file"]) for r in rows if r["kind"] == "exact_duplicates"] == [
        ("1", "dog/01.png"),
        ("1", "dog/copy.png"),
    ]


def test_what_stops_a_study_is_told_after_all_that_was_found(
    photos: Path, here: Path, tlsearch: Invoke
) -> None:
    assert photos.exists()
    strict = ("--set", "data.audit.unreadable=error", "--set", "data.audit.exact_duplicates=error")
    done = tlsearch("check", "study.yaml", "--files", "list.csv", *strict, code=2)
    assert "stops the study (unreadable: error)" in done.stdout
    assert "at most" not in done.stdout
    assert "the images: 2 problems" in done.stderr
    assert "data.audit.exact_duplicates = error: 1 image that repeats another" in done.stderr
    assert "dog/copy.png" in (here / "list.csv").read_text()
    done = tlsearch("check", "study.yaml", "--json", *strict, code=2)
    told = json.loads(done.stdout)
    assert told["estimate"] is None
    assert told["audit"]["findings"][0]["policy"] == "error"


def test_label_errors_without_weights_to_judge_with(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml", "--label-errors").stdout
    assert "Label errors were not looked for: the backbone has no pretrained weights" in text


def test_an_embedded_source_is_not_read(here: Path, tlsearch: Invoke) -> None:
    text = tlsearch("check", "study.yaml", "--label-errors").stdout
    assert "images: 1,797" in text
    assert "not found: small classes, imbalance" in text
    assert "digits is embedded" in text
    assert not (here / "cache").exists()
    small = ("--set", "data.audit.min_class_images=180")
    done = tlsearch("check", "study.yaml", *small, code=2)
    assert "data.audit.small_classes = error: 4 classes below 180 images: class 0" in done.stderr
