"""Pages of studies where something is hostile, missing, cut short or of an odd size."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.fake import (
    Fake,
    baselines,
    confirm,
    fake_study,
    finished,
    know_data,
    search,
    train,
)
from tests.report.test_build import Page, html_of
from tlsearch.config.paths import Layout, examples_path, scores_path, write_text
from tlsearch.data.records import Audit, Finding, Listed, summary
from tlsearch.report.build import build_report
from tlsearch.search.store import AUDIT

FORMATS = ("html", "md", "json")
HOSTILE = (
    "</script><script>alert(1)</script>",
    "{{ 7 * 7 }}{% raw %}",
    "nul\x00bell\x07",
    "\u202eright to left\u2066",
    "'\"`|&amp;<b>",
    "half \ud800 é",
    "%{x} <extra>",
)


def texts(fake: Fake) -> dict[str, str]:
    return {
        kind: build_report(fake.store, fake.layout, format=kind)  # type: ignore[arg-type]
        for kind in FORMATS
    }


def champion(fake: Fake) -> str:
    return str(fake.store.noted("test")["champion"])


def hostile_audit() -> Audit:
    files = tuple(Listed((name,), name) for name in HOSTILE)
    finding = Finding(
        kind="unreadable",
        policy="drop",
        count=len(files),
        dropped=len(files),
        text=HOSTILE[0],
        files=files,
    )
    return Audit(
        num_images=9, num_used=2, class_counts=(), findings=(finding,), clean=(), unseen=()
    )


def test_hostile_names_are_text_in_every_format(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=6")
    know_data(fake, HOSTILE, test_images=70)
    baselines(fake, names=HOSTILE)
    search(fake, 6, names=HOSTILE)
    confirm(fake, names=HOSTILE, winner=0.7, test_images=70)
    reason = HOSTILE[0] + HOSTILE[2]
    train(fake, fake.store.ask(), 0.1, ending="failed", reason=reason)
    found = texts(fake)
    for kind, text in found.items():
        write_text(tmp_path / f"report.{kind}", text)  # it can be written as UTF-8
        assert not {"\x00", "\x07", "\ud800"} & set(text), kind
        assert kind == "json" or not {"\u202e", "\u2066"} & set(text), kind
    page = Page(found["html"])
    # The last script is the page's own, the one before it plotly: no name opened another.
    assert sum(len(text) > 1_000_000 for text in page.scripts) == 1
    assert len(page.scripts[-2]) > 1_000_000
    assert all("alert" not in text or text.startswith("{") for text in page.scripts)
    assert not any(tag == "b" for tag, _ in page.elements)
    assert "{{ 7 * 7 }}{% raw %}" in page.text
    assert "49" not in [word.strip() for word in page.text.split("\n")]
    assert "nul\ufffdbell\ufffd" in page.text
    told = json.loads(found["json"])
    assert told["data"]["class_names"][:2] == list(HOSTILE[:2])


def test_names_of_files_that_are_no_text_are_shown_and_written(tmp_path: Path) -> None:
    fake = fake_study(tmp_path)
    know_data(fake)
    fake.store.note(AUDIT, summary(hostile_audit()))
    for kind, text in texts(fake).items():
        write_text(tmp_path / f"report.{kind}", text)
    assert "half \ufffd é" in (tmp_path / "report.html").read_text(encoding="utf-8")
    listed = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["data"]["audit"]
    assert listed["findings"][0]["files"][5]["names"] == [HOSTILE[5]]


def test_when_all_trials_failed_each_reason_is_said(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=3")
    know_data(fake)
    for number in range(3):
        train(fake, fake.store.ask(), 0.1, ending="failed", reason=f"no memory {number}")
    page = Page(html_of(fake))
    assert "There is no answer yet." in page.text
    assert "No trial was completed" in page.text
    for number in range(3):
        assert f"no memory {number}" in page.text
    assert "no model has been evaluated" in page.text


def test_a_study_that_was_not_run_says_so_in_each_section(tmp_path: Path) -> None:
    page = Page(html_of(fake_study(tmp_path)))
    for sentence in (
        "Run the study first.",
        "The test part has not been scored.",
        "Pictures are kept once the test part is scored.",
        "The data have not been read yet",
        "The images have not been audited.",
    ):
        assert sentence in page.text


def test_one_trial_and_one_image_of_each_class(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=1", "confirm.seeds=1", "baselines=[]")
    know_data(fake, ("a", "b"), test_images=2)
    search(fake, 1, names=("a", "b"))
    confirm(fake, names=("a", "b"), winner=1.0, test_images=2)
    page = Page(html_of(fake))
    assert "All 2 test images are right." in page.text
    assert "Area under the curve of b: 1.0000" in page.text


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


def not_a_picture(path: Path) -> None:
    content = json.loads(path.read_text())
    content["right"][0]["image"] = 'javascript:alert(1)" onerror="alert(2)'
    path.write_text(json.dumps(content))


def another_shape(path: Path) -> None:
    path.write_text("[1, 2]")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (Path.unlink, "is missing, so there are no pictures"),
        (cut, "cannot be read (JSONDecodeError)"),
        (not_a_picture, "cannot be read (ValueError)"),
        (another_shape, "cannot be read (TypeError)"),
    ],
)
def test_pictures_that_are_gone_or_spoilt(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    fake = finished(tmp_path, trials=6)
    path = examples_path(fake.folder, champion(fake))
    spoil(path)
    page = Page(html_of(fake))
    assert f"{path} {said}" in page.text
    assert page.all("img") == []
    assert "Per class, on the test part" in page.text


def spoilt(**changes: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        with np.load(path) as file:
            kept = dict(file)
        np.savez(path, **{name: f(kept[name]) for name, f in changes.items()}, **{
            name: column for name, column in kept.items() if name not in changes
        })  # fmt: skip

    return spoil


@pytest.mark.parametrize(
    "spoil",
    [
        Path.unlink,
        cut,
        spoilt(labels=lambda column: column[:-1]),
        spoilt(labels=lambda column: column + 10),
        spoilt(probabilities=lambda table: table * np.nan),
        spoilt(probabilities=lambda table: table[0]),
        spoilt(probabilities=lambda table: table.astype(str)),
    ],
)
def test_scores_that_are_gone_or_spoilt(tmp_path: Path, spoil: Callable[[Path], None]) -> None:
    fake = finished(tmp_path, trials=6)
    path = scores_path(fake.folder, champion(fake))
    spoil(path)
    page = Page(html_of(fake))
    assert page.text.count(str(path)) >= 3, "for counts, curves and calibration"
    assert "Per class, on the validation part" in page.text
    assert "Its mistakes" in page.text


def test_a_state_folder_that_moved_is_read_where_it_is(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=6)
    there = tmp_path / "elsewhere"
    fake.layout.root.rename(there)
    before = html_of(fake)  # looks where it was
    assert "What is missing" in before
    assert "What is missing" not in html_of(fake._replace(layout=Layout(there)))


def test_two_hundred_classes_show_what_reads_well(tmp_path: Path) -> None:
    names = tuple(f"class number {i}" for i in range(200))
    fake = fake_study(tmp_path, "budget.trials=6")
    know_data(fake, names, test_images=1000)
    search(fake, 6, names=("only", "two"))
    confirm(fake, names=names, winner=0.8, test_images=1000)
    page = Page(html_of(fake))
    assert "of 200 classes: of many, those with most mistakes" in page.text
    assert len(page.all("img")) < 60
    assert "in the mean over 200 classes" in page.text
