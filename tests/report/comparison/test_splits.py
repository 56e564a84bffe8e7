import dataclasses
import json
import re
from io import StringIO

import jsonschema
import numpy as np
import pytest
from rich.console import Console

from tests.comparison.compared import KINDS, comparison, table_a
from tests.report.test_build import Page
from tlsearch.cli.console import show_tables
from tlsearch.comparison.answers import Provenance, Tables, tables_json, tables_schema_text
from tlsearch.comparison.design import ArmResults, ComparisonResults
from tlsearch.comparison.tables import make_tables
from tlsearch.config.comparison import Traits
from tlsearch.report.comparison import ComparisonReport, measured_text, said_text
from tlsearch.report.figures.comparison import Expectations
from tlsearch.report.html import render_html
from tlsearch.report.markdown import render_markdown

ORIGIN = Provenance(
    command="tlsearch run 'a b.yaml' --set name=<b>",
    date="2026-11-21 15:12",
    versions={"tlsearch": "1.2", "torch": "2.15.0"},
    trainings={"complete": 60, "failed": 4},
    seconds=1800.0,
    precisions=("bf16",),
    devices=("cpu",),
    cores=2,
    revision="0123abc",
    study="name: <b>\n",
    images_trained=12345,
    fingerprints={"data of over time": "d1", "weights": "w1"},
    weights=("imagenet of resnet18: theirs", "own.pth: 100 of 100 tensors"),
)


def split(estimate: float, later: float) -> ArmResults:
    """Four redraws that differ by a tenth of a point."""
    wobble = np.array([-1, 0, 0, 1]) / 1000
    values = {
        "estimate": estimate + wobble,
        "later_accuracy": np.full(4, later),
        "future_error": np.abs(estimate + wobble - later),
        "estimate_images": np.full(4, 10_000.0),
        "class_share_distance": np.linspace(0.1, 0.2, 50),
    }
    none = np.zeros((4, 0), dtype=bool)
    return ArmResults(np.array([]), {"lr": 0.01}, 0, none, values, (1, 2, 3, 4))


def told(results: ComparisonResults) -> Tables:
    return make_tables(
        results, resamples=0, seed=0, provenance=ORIGIN
    )  # fmt: skip


def time_table() -> Tables:
    """Table 2 where images are in order of time."""
    arms = {
        "B1": split(0.95, 0.9), "B2": split(0.80, 0.9), "B3": split(0.905, 0.9),
        "B3 with gap": split(0.93, 0.9),
    }  # fmt: skip
    results = comparison("B", arms, traits=Traits(order="time"))._replace(future=0.4)
    facts = {
        "probe_accuracy": 0.97, "source_distance": 0.6, "similarity": 0.76, "classes": 10.0,
        "imbalance": 1.052, "train_images": 1646.0, "validation_images": 216.0,
        "test_images": 216.0, "later_images": 10_000.0,
    }  # fmt: skip
    (place,) = results.scenarios
    return told(results._replace(scenarios=(place._replace(facts=facts),)))


@pytest.fixture(scope="module")
def tables() -> Tables:
    return time_table()


FINDING = (
    "Too optimistic: random (B1) (+5.0 points) and B3 with gap (+3.0 points). "
    "Too pessimistic: stratified (B2) (−10.0 points). No bias shown: by time (B3) (+0.5 points). "
    "Nearest to the later accuracy: by time (B3)."
)


def test_whose_estimates_came_true_is_said_first(tables: Tables) -> None:
    (found,) = ComparisonReport(tables).split_findings
    assert (found.lead, found.text.replace("\u00a0", " ")) == ("here", FINDING)
    page = " ".join(Page(render_html(ComparisonReport(tables))).text.split())
    assert page.index(FINDING) < page.index("What the verdicts mean")
    assert page.count(FINDING) == 2  # at the top, and with its scenario


def test_every_format_shows_estimate_and_later_accuracy(tables: Tables) -> None:
    line = r"random \(B1\)\W*95.0 %\W*90.0 %\W*5.0 points \(\+4.\d to \+5.\d\)"
    out = StringIO()
    show_tables(ComparisonReport(tables), Console(file=out, width=120, highlight=False))
    page = " ".join(Page(render_html(ComparisonReport(tables))).text.split())
    for text in (page, render_markdown(ComparisonReport(tables)), out.getvalue()):
        text = text.replace("\u00a0", " ").replace("\\", "")
        assert re.search(line, text), text
        assert "test accuracy" not in text
        assert "the reference" not in text
    data = tables_json(tables)
    jsonschema.validate(data, json.loads(tables_schema_text()))
    random = data["scenarios"][0]["arms"][0]["foretelling"]
    assert random["estimate"] == pytest.approx(0.95)
    assert random["later_accuracy"] == pytest.approx(0.9)
    assert (random["bias"], random["redraws"]) == ("too optimistic", 4)
    assert data["gains"] == []


def test_the_figure_joins_what_was_expected_and_what_came_true(tables: Tables) -> None:
    found = Expectations.compute(ComparisonReport(tables))
    assert isinstance(found, Expectations)
    figure = found.draw()
    assert [trace.name for trace in figure.data][:2] == ["random (B1)", "stratified (B2)"]
    random = figure.data[0]
    assert random.x[:2] == pytest.approx((90.0, 95.0))
    assert random.x[2] is None
    assert random.marker.symbol[:2] == ("circle", "circle-open")
    assert [trace.y[0] for trace in figure.data] == pytest.approx([0.3, 0.1, -0.1, -0.3])
    html = render_html(ComparisonReport(tables))
    assert 'id="expectations-data"' in html
    assert "forest" not in html.partition("<script>")[0]


def test_how_splits_were_measured(tables: Tables) -> None:
    text = " ".join(ComparisonReport(tables).protocol).replace("\u00a0", " ")
    for part in (
        "4 arms in 1 scenario.", "The latest 40 % of", "with each of 4 seeds anew",
        "Nothing was tuned", "up to 12 epochs", "over 50 redraws, without training",
        "other draws and seeds",
    ):  # fmt: skip
        assert part in text
    assert "scored on the test images" not in text


def test_how_it_was_measured_fits_what_was_tuned() -> None:
    results = table_a(0, gains={}, kinds=KINDS[:1], seeds=2, images=20)
    (place,) = results.scenarios

    def text(*fixed: str) -> str:
        arms = {n: a._replace(settings=0) if n in fixed else a for n, a in place.arms.items()}
        among = results._replace(scenarios=(place._replace(arms=arms),))
        return " ".join(ComparisonReport(told(among)).protocol)

    assert "tuned with 20 trials of up to 12 epochs" in text()
    assert "trained again with 2 seeds" in text()
    assert "with that setting at each of several values" in text()
    assert "left to tune" not in text()
    assert "Nothing was left to tune in fixed rate (A1) and warm-up (A4)." in text("A1", "A4")
    assert "Nothing was tuned: the study sets" in text(*place.arms)
    assert "trials" not in text(*place.arms)


def test_a_scenario_is_said_in_the_readers_order(tables: Tables) -> None:
    (place,) = tables.scenarios
    assert said_text(place) == "Described as in order of time."
    assert measured_text(place).replace("\u00a0", " ") == (
        "Measured: similarity to the source 0.76 (1: like the source); 1,646 / 216 / 216 / 10,000 "
        "images (train / validation / test / later); 10 classes; largest class 1.05 times the "
        "smallest; a linear probe classifies 97.0 % correctly."
    )
    known = dataclasses.replace(place, traits={}, facts={"difficulty": 0.125})
    assert said_text(known) == ""
    assert measured_text(known) == "Measured: difficulty 0.12 (error of the best arm)."
    even = measured_text(dataclasses.replace(place, facts={"classes": 3.0, "imbalance": 1.0}))
    assert even == "Measured: 3 classes; all classes of equal size."
    assert measured_text(dataclasses.replace(place, facts={})) == ""


def test_where_the_figures_come_from_ends_the_report(tables: Tables) -> None:
    cost = "64 trainings (60 complete, 4 failed), 12,345 images seen, 30 min in all"
    parts = {
        "Command": "tlsearch run 'a b.yaml' --set name=<b>",
        "Cost": f"{cost}; the last ended on 2026-11-21 15:12",
        "Number format and machine": "bf16, cpu, 2 cores",
        "Fingerprints": "data of over time d1; weights w1",
        "Weights": "imagenet of resnet18: theirs; own.pth: 100 of 100 tensors",
        "Revision": "0123abc",
        "Versions": "tlsearch 1.2, torch 2.15.0",
    }
    page = " ".join(Page(render_html(ComparisonReport(tables))).text.split())
    markdown = render_markdown(ComparisonReport(tables)).replace("\\", "")
    for term, text in parts.items():
        assert f"{term} {text}" in page or f"{term}{text}" in page
        assert f"- {term}: {text}\n" in markdown
    assert page.endswith("The study, with every default name: <b>")
    assert tables_json(tables)["provenance"]["trainings"] == {"complete": 60, "failed": 4}


def test_what_a_comparison_is_about_opens_its_report(tables: Tables) -> None:
    assert tables.provenance is not None
    about = dataclasses.replace(tables.provenance, about="Which split is honest?")
    asked = dataclasses.replace(tables, provenance=about)
    assert "<p>Which split is honest?</p>" in render_html(ComparisonReport(asked))
    assert "\n\nWhich split is honest?\n\n" in render_markdown(ComparisonReport(asked))
    assert "honest?" not in render_html(ComparisonReport(tables))


def test_an_older_study_leaves_out_what_it_did_not_note(tables: Tables) -> None:
    bare = Provenance(
        command=None, date=None, versions={}, trainings={"complete": 1}, seconds=5.0,
        precisions=(), devices=(), cores=None,
    )  # fmt: skip
    text = render_markdown(ComparisonReport(dataclasses.replace(tables, provenance=bare)))
    assert text.endswith("\n\n- Cost: 1 training (1 complete), 5 s in all\n")
    without = render_markdown(ComparisonReport(dataclasses.replace(tables, provenance=None)))
    assert "training (" not in without
