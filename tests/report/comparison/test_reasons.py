"""The figures behind a comparison's answer: rates, drifts, first steps."""

import json
from dataclasses import replace

import numpy as np
import pytest

from tests.comparison.compared import KINDS, RATES, table_a
from tests.report.comparison.test_comparison import judged
from tests.report.test_build import Page
from tlsearch.comparison.answers import Tables
from tlsearch.comparison.design import ComparisonResults
from tlsearch.report.comparison import ComparisonReport
from tlsearch.report.figures.comparison import Drift, FirstSteps, Sensitivity
from tlsearch.report.html import pictures, render_html
from tlsearch.report.wording import Absent

GROUPS = ("stem", "layer1", "head")


@pytest.fixture(scope="module")
def results() -> ComparisonResults:
    """Two scenarios whose arms moved by 0.01 in the stem, 0.02 in the next group, …"""
    found = table_a(0, gains={}, kinds=KINDS[:2], seeds=3, images=60)
    places = []
    for place in found.scenarios:
        arms = {}
        for name, arm in place.arms.items():
            parts = {f"cka_drift.{g}": np.full(3, 0.01 * i) for i, g in enumerate(GROUPS, 1)}
            norms = {"early_gradient_norm": np.array([1.0, 10.0, 100.0])}
            arms[name] = arm._replace(values={**arm.values, **parts, **norms})
        places.append(place._replace(arms=arms))
    return found._replace(scenarios=tuple(places))


@pytest.fixture(scope="module")
def tables(results: ComparisonResults) -> Tables:
    return judged(results)


def test_a_curve_for_each_arm_that_was_swept_over_the_rate(
    results: ComparisonResults, tables: Tables
) -> None:
    found = Sensitivity.compute(ComparisonReport(tables))
    assert isinstance(found, Sensitivity)
    assert found.arms == ("fixed rate (A1)", "warm-up (A4)", "adaptive (A5)")
    assert len(found.draw().data) == 6
    figure = found.draw()
    trace = figure.data[0]
    assert trace.x == RATES
    means = results.scenarios[0].sweeps[0].answers.mean(axis=(1, 2))
    assert trace.y == pytest.approx(100 * means, abs=1e-3)
    assert [t.showlegend for t in figure.data] == [True] * 3 + [False] * 3
    assert len({t.line.dash for t in figure.data[:3]}) == 3
    assert len({t.marker.symbol for t in figure.data[:3]}) == 3
    assert {t.xaxis for t in figure.data[3:]} == {"x2"}
    assert figure.layout.xaxis2.type == "log"
    json.loads(figure.to_json())


def test_what_diverged_is_said(tables: Tables) -> None:
    place = tables.scenarios[0]
    points = tuple(replace(p, diverged=2, accuracy=0.25) for p in place.sweeps[0].points[:2])
    sweep = replace(place.sweeps[0], points=points)
    changed = replace(tables, scenarios=(replace(place, sweeps=(sweep,)),))
    found = Sensitivity.compute(ComparisonReport(changed))
    assert isinstance(found, Sensitivity)
    told = found.alt.replace("\u00a0", " ")
    assert "25.0 % at 0.001 (2 of 3 runs diverged)" in told


def test_drift_by_layer_group_from_the_input_on(tables: Tables) -> None:
    found = Drift.compute(ComparisonReport(tables))
    assert isinstance(found, Drift)
    assert found.kind == "cka_drift"
    assert len(found.arms) == 5
    figure = found.draw()
    assert figure.data[0].x == GROUPS
    assert figure.data[0].y == pytest.approx((0.01, 0.02, 0.03))
    assert figure.data[0].error_y.array == pytest.approx((0, 0, 0))
    assert "stem 0.01, layer1 0.02, head 0.03" in found.alt


def test_without_source_images_the_drift_is_of_weights(results: ComparisonResults) -> None:
    place = results.scenarios[0]
    values = {"weight_drift.stem": np.array([0.1, 0.2, 0.4]), "cka_drift.stem": np.full(3, np.nan)}
    arms = {"A1": place.arms["A1"]._replace(values=values)}
    alone = results._replace(scenarios=(place._replace(arms=arms, sweeps=()),))
    found = Drift.compute(ComparisonReport(judged(alone)))
    assert isinstance(found, Drift)
    assert found.kind == "weight_drift"
    (one,) = found.marks
    assert one.mean == pytest.approx(0.2)
    assert "No images of the source" in found.caption


def test_gradients_of_the_first_steps_on_a_logarithmic_axis(tables: Tables) -> None:
    found = FirstSteps.compute(ComparisonReport(tables))
    assert isinstance(found, FirstSteps)
    assert len(found.marks) == 5 * 2
    figure = found.draw()
    assert figure.layout.xaxis.type == "log"
    assert figure.data[0].x == pytest.approx((10, 10))
    assert len({trace.marker.symbol for trace in figure.data}) == 5
    heights = sorted(y for trace in figure.data for y in trace.y)
    assert min(np.diff(heights)) > 0.1


def test_the_page_draws_what_was_measured_and_names_what_was_not(tables: Tables) -> None:
    page = Page(render_html(ComparisonReport(tables)))
    drawn = {a["id"] for a in page.all("div") if a.get("class") == "plot"}
    assert drawn == {"forest", "sensitivity", "drift", "first_steps"}
    assert "What lies behind it" in page.text
    places = tuple(replace(place, sweeps=()) for place in tables.scenarios)
    some = Page(render_html(ComparisonReport(replace(tables, scenarios=places))))
    assert "sweeps no arm over the learning rate" in some.text
    assert "How right the learning rate" not in some.text


def test_nothing_measured_leaves_no_empty_section(results: ComparisonResults) -> None:
    place = results.scenarios[0]
    arms = {name: arm._replace(values={}) for name, arm in place.arms.items()}
    bare = judged(results._replace(scenarios=(place._replace(arms=arms, sweeps=()),)))
    for figure in (Sensitivity, Drift, FirstSteps):
        assert isinstance(figure.compute(ComparisonReport(bare)), Absent)
    behind = pictures(ComparisonReport(bare))["behind"]
    assert all(picture.plot is None for picture in behind.values())
    assert "What lies behind it" not in Page(render_html(ComparisonReport(bare))).text
