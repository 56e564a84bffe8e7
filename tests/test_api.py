"""`import tlsearch`: the same as the commands, for programs."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import tlsearch
from tests.cli.conftest import STUDY, inherited
from tlsearch.api import Model
from tlsearch.config.paths import atomic_write
from tlsearch.execution.messages import Preparing
from tlsearch.models.facts import ModelFacts

ROOT = Path(__file__).parents[1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("TLSEARCH_CACHE", str(tmp_path / "cache"))
    with atomic_write(tmp_path / "study.yaml") as draft:
        draft.write_text(STUDY)
    return tmp_path


def test_overrides_are_a_mapping_or_what_set_takes(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"budget.trials": 3, "space.lr": [0.1, 0.2], "name": "other", "confirm": None}
    texts = ["budget.trials=3", "space.lr=[0.1, 0.2]", "name=other", "confirm=null"]
    study = tlsearch.load_study(here / "study.yaml", overrides=changes)
    assert study == tlsearch.load_study("study.yaml", overrides=texts)
    assert tlsearch.load_study("study.yaml", preset="small").budget.trials == 2
    one = tlsearch.load_study("study.yaml", overrides="budget.trials=3")
    assert one == tlsearch.load_study("study.yaml", overrides={"budget.trials": np.int64(3)})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    assert tlsearch.load_study("study.yaml").tracking_uri == "http://127.0.0.1:9"
    given = {"tracking_uri": "sqlite:////a.db"}
    assert tlsearch.load_study("study.yaml", overrides=given).tracking_uri == "sqlite:////a.db"
    with pytest.raises(tlsearch.RequestError, match="no kind of store"):
        tlsearch.load_study("study.yaml", overrides={"tracking_uri": "ftp://x"})
    warm = "{warmup_epochs: {low: 0, high: 4}, lr:"
    longer = STUDY.replace("epochs: 2", "epochs: 6").replace("{lr:", warm)
    (here / "long.yaml").write_text(longer)
    with pytest.warns(UserWarning, match="warmup_epochs"):
        tlsearch.load_study("long.yaml", overrides={"budget.epochs": 3})


def test_a_study_that_was_not_started_is_an_error_and_makes_nothing(here: Path) -> None:
    study = tlsearch.load_study("study.yaml")
    for ask in (tlsearch.open_results, tlsearch.load_model):
        with pytest.raises(tlsearch.RequestError, match=r"start it with: tlsearch\.run\(study\)$"):
            ask(study)
    with pytest.raises(tlsearch.RequestError, match="no such file"):
        tlsearch.load_model("none.pt2")
    assert [path.name for path in here.iterdir()] == ["study.yaml"]


def test_check_gives_what_the_command_prints(here: Path) -> None:
    for name, count in {"a": 8, "b": 2}.items():
        for i in range(count):
            pixels = np.random.default_rng([i, count]).integers(0, 256, (9, 9, 3), np.uint8)
            (here / "photos" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(here / "photos" / name / f"{i}.png")
    events = []
    study = tlsearch.load_study("study.yaml", overrides={"data.source": {"folder": "photos"}})
    found = tlsearch.check(study, progress=events.append)
    (problem,) = found.problems
    assert "data.audit.small_classes = error: 1 class below 5 images: b" in str(problem)
    assert found.as_json()["estimate"] is None
    assert all(isinstance(event, Preparing) for event in events)
    assert events


class Brightness:
    """Answers with the brightness of the left and of the right half."""

    facts = ModelFacts(
        class_names=("left", "right"),
        image_size=8,
        fit="stretch",
        backbone="resnet18",
        study="s",
        trial=0,
        run="r",
        test={},
        weights="float32",
    )

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        halves = [images[..., :4].mean((1, 2, 3)), images[..., 4:].mean((1, 2, 3))]
        found = np.stack(halves, 1)
        return found / found.sum(1, keepdims=True)


def test_a_model_answers_for_paths_pictures_and_arrays_alike(here: Path) -> None:
    model = Model(Brightness())
    array = np.full((6, 10, 3), 20, np.uint8)
    array[:, 5:] = 200
    picture = Image.fromarray(array)
    picture.save(here / "a.png")
    turned, exif = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # upright again after a quarter clockwise
    turned.save(here / "b.png", exif=exif)
    (here / "c.png").write_text("no image")
    grey, clear = array[..., :1], np.dstack([array, np.full((6, 10), 255, np.uint8)])
    images = ["a.png", here / "b.png", picture, Image.open(here / "b.png"), array, grey, clear]
    images.append(grey[..., 0])
    found = model.predict(images, probabilities=True)
    assert found["label"].tolist() == ["right"] * len(images)
    assert found["probability"].nunique() == 1
    assert found["path"].tolist() == ["a.png", str(here / "b.png"), *[""] * 6]
    np.testing.assert_allclose(found["p:left"] + found["p:right"], 1, rtol=1e-6)
    assert len(model.predict(np.stack([array, array]))) == 2
    none = model.predict([], probabilities=True)
    assert none.columns.tolist() == found.columns.tolist()
    assert none.empty
    unread = model.predict(here)
    assert unread["error"].tolist()[:2] == ["", ""]
    assert "no image" in unread["error"][2]
    for wrong in (array.astype(float), array[..., :2], [3]):
        with pytest.raises(tlsearch.RequestError, match="is no image — give paths, pictures"):
            model.predict(wrong)
    with pytest.raises(tlsearch.RequestError, match="batch_size = 0: must be at least 1"):
        model.predict(array, batch_size=0)
    assert ImageOps.exif_transpose(turned).size == turned.size  # the caller's picture is as it was


def test_a_picture_that_cannot_be_read_has_a_row_that_says_so(here: Path) -> None:
    whole = Image.effect_noise((40, 40), 90)
    whole.save(here / "whole.jpg")
    (here / "cut.jpg").write_bytes((here / "whole.jpg").read_bytes()[:400])
    closed = Image.open(here / "whole.jpg")
    closed.close()
    with Image.open(here / "cut.jpg") as cut:
        images = [cut, closed, np.zeros((0, 8, 3), np.uint8), whole]
        found = Model(Brightness()).predict(images)
    assert found["label"].notna().tolist() == [False, False, False, True]
    kinds = [error.partition(":")[0] for error in found["error"]]
    assert kinds == ["damaged", "damaged", "has no pixels", ""]


def test_what_is_no_study_is_one_message() -> None:
    for function in (tlsearch.check, tlsearch.run, tlsearch.open_results):
        with pytest.raises(tlsearch.RequestError, match=r'study = "s.yaml": is no study — give'):
            function("s.yaml")  # type: ignore[operator]


@pytest.mark.slow
@pytest.mark.ci
def test_the_documentation_runs_as_a_script_from_top_to_bottom(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) > 5
    watched = "import os, signal\nbefore = signal.getsignal(signal.SIGINT), os.getcwd()\n"
    after = (
        "\nassert before == (signal.getsignal(signal.SIGINT), os.getcwd())\nprint(len(answers))\n"
    )
    (tmp_path / "page.py").write_text(f"print('begun')\n{watched}{''.join(blocks)}{after}")
    done = subprocess.run(
        [sys.executable, "page.py"],
        cwd=tmp_path,
        env={**inherited(), "TLSEARCH_CACHE": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "begun"
    assert lines.count("begun") == 1  # no worker ran the script again
    assert lines[-1] == "3"
    assert any(re.fullmatch(r"trial 0 epoch 1 0\.\d+", line) for line in lines)
    assert "space.lr" in done.stdout
    assert not done.stderr
