import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

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
from tlsearch.config.paths import evaluation_path, scores_folder
from tlsearch.report.build import build_report
from tlsearch.report.context import read_search
from tlsearch.report.html import pictures
from tlsearch.search.summary import as_json, summarise

HOSTILE = ("<script>alert(1)</script>", "a|b`c`*d*", 'x" onload="alert(2)', "</script>&lt;b>")


class Page(HTMLParser):
    """A page as a browser takes it apart: its elements, its text outside scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def html_of(fake: Fake) -> str:
    return build_report(fake.store, fake.layout, format="html")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    return finished(tmp_path_factory.mktemp("done"))


@pytest.fixture(scope="module")
def page(done: Fake) -> Page:
    return Page(html_of(done))


def test_the_page_asks_no_host_for_anything(page: Page) -> None:
    pictures = [attrs.pop("src") for attrs in page.all("img")]
    assert pictures
    assert all(src is not None and src.startswith("data:image/") for src in pictures)
    for _, attrs in page.elements:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert name not in attrs, attrs
        assert "url(" not in (attrs.get("style") or "")
    policy = next(a["content"] for a in page.all("meta") if "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "http" not in policy
    styles = (Path(__file__).parents[2] / "tlsearch/report/templates/report.css").read_text()
    assert "@import" not in styles
    assert "url(" not in styles


def num_drawn(fake: Fake) -> int:
    shown = pictures(read_search(fake.store, fake.layout))
    return sum(bool(picture.plot) for part in shown.values() for picture in part.values())


def test_the_script_of_plotly_is_there_once(done: Fake, page: Page) -> None:
    plotly = [text for text in page.scripts if len(text) > 1_000_000]
    assert len(plotly) == 1
    specs = [json.loads(text) for text in page.scripts if text.startswith("{")]
    assert len(specs) == num_drawn(done) >= 14
    assert all({"data", "layout"} == set(spec) for spec in specs)


def test_every_figure_has_a_text_for_those_who_do_not_see_it(done: Fake, page: Page) -> None:
    plots = [a for a in page.all("div") if a.get("class") == "plot"]
    assert len(plots) == num_drawn(done)
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 40 for a in plots)
    assert page.all("html") == [{"lang": "en"}]


def test_the_answer_comes_first_then_the_reasons_then_the_detail(done: Fake, page: Page) -> None:
    record = done.store.noted("test")
    mean = f"{100 * record['accuracy']['mean']:.1f}\u00a0%"
    places = [page.text.index(part) for part in ("What to use", mean, "The search", "All runs")]
    assert places == sorted(places)
    for part in ("0123456789abcdef", "tlsearch run study.yaml", "worker 1 died", "models:/m-0123"):
        assert part in page.text


def test_names_of_users_are_text_and_never_markup(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "budget.trials=12")
    know_data(fake, HOSTILE)
    baselines(fake, names=HOSTILE)
    search(fake, 12, names=HOSTILE)
    confirm(fake, names=HOSTILE)
    train_reason(fake)
    page = Page(html_of(fake))
    assert all("alert" not in text for text in page.scripts[-1:])
    assert not any("onload" in attrs for _, attrs in page.elements)
    for name in HOSTILE:
        assert name in page.text
    plotly, *_ = (i for i, text in enumerate(page.scripts) if len(text) > 1_000_000)
    assert plotly == len(page.scripts) - 2, "no script was opened by a name"
    matrix = next(
        json.loads(text)
        for text in page.scripts
        if '"scaleanchor"' in text and text.startswith("{")
    )
    assert matrix["layout"]["xaxis"]["ticktext"][0].startswith("&lt;script&gt;")
    markdown = build_report(fake.store, fake.layout, format="md")
    assert "<script>" not in markdown.replace(r"\<script\>", "")


def train_reason(fake: Fake) -> None:
    reason = "<img src=x onerror=alert(3)>"
    train(fake, fake.store.ask(), 0.1, ending="failed", reason=reason)


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    address = "tracking_uri=https://me:secret@host/path"
    fake = fake_study(tmp_path, address)
    assert "secret" not in html_of(fake)
    assert "secret" not in build_report(fake.store, fake.layout, format="md")


@pytest.mark.parametrize("kind", ["html", "md", "json"])
def test_small_studies_build_in_every_format(tmp_path: Path, kind: Any) -> None:
    fake = fake_study(tmp_path)

    def build() -> str:
        return build_report(fake.store, fake.layout, format=kind)

    assert build()
    assert not fake.layout.root.exists(), "a report creates nothing"
    train(fake, fake.store.ask(), 0.1, ending="diverged", reason="NaN")
    assert "no answer yet" in build() or kind == "json"
    train(fake, fake.store.ask(), 0.8)
    assert "only complete one" in build() or kind == "json"


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    fake = finished(tmp_path, trials=6)
    record = fake.store.noted("test")
    scores = scores_folder(fake.folder) / f"{record['champion']}.npz"
    scores.write_bytes(scores.read_bytes()[:100])
    page = Page(html_of(fake))
    assert f"{scores} cannot be read" in page.text
    assert "Per class, on the validation part" in page.text
    scores.unlink()
    evaluation = evaluation_path(fake.folder, f"trial-{record['winner']:04d}")
    evaluation.write_text('{"classes": ["a"], "confusion": [[1, 2]]}')
    page = Page(html_of(fake))
    assert f"{scores} is missing" in page.text
    assert f"{evaluation} cannot be read" in page.text
    evaluation.unlink()
    assert f"{evaluation} is missing" in build_report(fake.store, fake.layout, format="md").replace(
        "\\", ""
    )


@pytest.mark.parametrize("kind", ["html", "md", "json"])
def test_a_study_whose_model_is_still_being_logged(tmp_path: Path, kind: Any) -> None:
    """The test part has been scored, and the report is asked for before the run has ended."""
    fake = finished(tmp_path, trials=6)
    record = dict(fake.store.noted("test"))
    record.pop("model")
    fake.store.note("test", record)
    text = build_report(fake.store, fake.layout, format=kind)
    assert "test part" in text or kind == "json"
    assert "models:/" not in text


@pytest.mark.slow
def test_two_hundred_classes_and_five_hundred_trials_stay_under_six_megabytes(
    tmp_path: Path,
) -> None:
    names = tuple(f"a class with a rather long name {i}" for i in range(200))
    fake = fake_study(tmp_path, "budget.trials=500")
    know_data(fake, names, test_images=1000)
    search(fake, 500, names=("only", "two"))
    confirm(fake, names=names, test_images=1000)
    text = html_of(fake)
    assert len(text.encode()) < 6_000_000
    page = Page(text)
    assert "Per class, on the test part (200 classes)" in page.text
    assert "All trials (500)" in page.text


def test_what_a_study_is_about_opens_its_report(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "about=Does <freezing> help?")
    assert (
        "Does <freezing> help?" in Page(build_report(fake.store, fake.layout, format="html")).text
    )
    told = build_report(fake.store, fake.layout, format="md")
    assert told.startswith("## quickstart\n\nDoes \\<freezing\\> help?\n")


def test_json_is_the_summary_and_room_for_a_comparison(done: Fake) -> None:
    found = json.loads(build_report(done.store, done.layout, format="json"))
    expected = as_json(summarise(done.store, done.layout), report=None, seconds=None)
    data = done.store.noted("facts")["facts"]
    assert found.pop("provenance")["images_trained"] > 0
    assert found == {
        **expected,
        "data": {**data, "audit": None},
        "likeness": None,
        "start": [],
        "tables": [],
        "claims": [],
    }


def test_markdown_holds_the_comparison_as_a_table(done: Fake) -> None:
    text = build_report(done.store, done.layout, format="md")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    name = r"\| full fine-tuning \(one fixed recipe\) \|"
    pattern = name + r" [\d.]+\u00a0% .* \| [+−].* \| (better|no clear difference) \|"
    assert any(re.fullmatch(pattern, row) for row in rows)
    assert text.startswith("## quickstart\n")


def test_importing_the_report_is_light() -> None:
    code = (
        "import sys, tlsearch.report.build;"
        "print([m for m in ('plotly', 'sklearn', 'torch', 'mlflow', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
