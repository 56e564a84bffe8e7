"""Optuna's figures in the look of the report: what they hold, and what stands beside it."""

import math
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.report.fake import BASELINE_ACCURACIES, epochs_to, fake_study, train
from tests.report.figures.made import at, search_row, with_rows
from tlsearch.execution.runs import RunRow
from tlsearch.report.context import SearchReport, read_search
from tlsearch.report.figures import search
from tlsearch.report.figures.search import (
    History,
    ImportancePlot,
    Intermediate,
    Timeline,
    ValueShares,
    last_value,
    num_at_once,
)
from tlsearch.report.figures.strategies import MAX_PARALLEL, Parallel, Slices
from tlsearch.report.importances import Importances, Share, leading
from tlsearch.report.wording import Absent
from tlsearch.training.results import FoldResult

ADAM = {"freeze_depth": 0, "lr": 1e-3, "lr_ratio": 1.0, "optimizer": "adam", "dropout": 0.0,
        "batch_size": 64}  # fmt: skip
SGD = {**ADAM, "lr": 1e-1, "freeze_depth": 5, "optimizer": "sgd", "optimizer.sgd.momentum": 0.99}

PROBE = BASELINE_ACCURACIES["linear_probe"]


def trial(data: SearchReport, number: int, value: float, params: dict[str, Any]) -> RunRow:
    return search_row(data, number, value=value, params=params)


@pytest.fixture
def two(data: SearchReport) -> SearchReport:
    return with_rows(data, [trial(data, 0, 0.9, SGD), trial(data, 1, 0.8, ADAM)])


def drawn(found: Any, kind: type) -> Any:
    assert isinstance(found, kind)
    return found


def named(figure: Any) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data}


def test_history_holds_every_ended_trial_and_the_improvements(data: SearchReport) -> None:
    found = drawn(History.compute(data), History)
    assert [(p.number, p.state) for p in found.points] == [
        (row.number, row.state) for row in data.trials
    ]
    best, improved = -math.inf, []
    for row in data.trials:
        if row.value is not None and row.value > best:
            best = row.value
            improved.append((row.number, best))
    assert found.best == tuple(improved)
    assert dict(found.baselines) == pytest.approx(BASELINE_ACCURACIES)
    pruned = next(p for p in found.points if p.state == "pruned")
    assert pruned.value == data.trials[pruned.number].epochs[-1].val_accuracy


def test_history_draws_states_in_shapes_and_the_bad_at_the_edge(data: SearchReport) -> None:
    found = drawn(History.compute(data), History)
    figure = found.draw()
    marks = [t for t in figure.data if t.mode == "markers"]
    assert {t.name for t in marks} == {"complete", "pruned", "diverged", "failed"}
    assert len({t.marker.symbol for t in marks}) == 4
    low, high = figure.layout.yaxis.range
    assert all(low < y < high for t in marks for y in t.y)
    assert all(y < found.window.low for y in named(figure)["diverged"].y)
    assert named(figure)["linear probe"].y == pytest.approx((PROBE, PROBE))
    # Optuna's own line: a value for every trial once there is a complete one.
    best = named(figure)["best so far"]
    assert list(best.x) == [row.number for row in data.trials]
    assert best.y[-1] == pytest.approx(found.best[-1][1], abs=1e-4)
    outside = sum(p.value is None or p.value < found.window.low for p in found.points)
    assert f"{outside} trials without a value or beyond the axis" in found.caption


def test_history_of_a_loss_improves_downwards(tmp_path: Path) -> None:
    fake = fake_study(tmp_path, "search.metric=val_loss")
    for accuracy in (0.8, 0.7, 0.9):
        train(fake, fake.store.ask(), accuracy)
    train(fake, fake.store.ask(), 0.5, ending="diverged")
    found = drawn(History.compute(read_search(fake.store, fake.layout)), History)
    assert [number for number, _ in found.best] == [0, 2]
    assert named(found.draw())["diverged"].y[0] > found.window.high


def test_a_pruned_cross_validation_stands_at_its_mean_so_far(data: SearchReport) -> None:
    folds = (FoldResult(1, 3, 0.4, 0.6, 0.4, 0.6), FoldResult(2, 5, 0.2, 0.8, 0.3, 0.7))
    row = replace(data.trials[0], folds=folds, state="pruned", value=None)
    assert last_value(row, "val_accuracy") == 0.7


def test_values_are_spread_beside_the_baselines(data: SearchReport) -> None:
    found = drawn(ValueShares.compute(data), ValueShares)
    assert found.values == tuple(sorted(row.value for row in data.ranked))
    figure = found.draw()
    assert named(figure)["trials"].y[-1] == 1.0
    assert named(figure)["linear probe"].x == pytest.approx((PROBE, PROBE))
    beaten = sum(value > PROBE for value in found.values)
    assert f"{100 * beaten / len(found.values):.1f}" in found.caption


def course(data: SearchReport, number: int, *values: float, state: str = "complete") -> RunRow:
    epochs = tuple(
        e._replace(val_accuracy=v) for e, v in zip(epochs_to(1, 9), values, strict=False)
    )
    value = values[-1] if state == "complete" else None
    return search_row(data, number, epochs=epochs, value=value, state=state)


def test_courses_are_what_the_pruner_saw_and_pruned_ends_are_marked(data: SearchReport) -> None:
    complete = [course(data, i, 0.1 * i, 0.1 * i + 0.2, 0.1 * i + 0.4) for i in range(1, 6)]
    pruned = [
        course(data, i, *v, state="pruned") for i, v in ((6, [0.2]), (7, [0.1]), (8, [0.2, 0.1]))
    ]
    found = drawn(Intermediate.compute(with_rows(data, [*complete, *pruned])), Intermediate)
    assert (found.complete, found.pruned) == ((5, 4, 3, 2, 1), (6, 7, 8))
    assert found.pruned_at == {1: 2, 2: 1}
    assert "3 trials pruned, most often after epoch 1" in found.caption
    assert "Pruned: 2 after epoch 1, 1 after epoch 2." in found.alt
    figure = found.draw()
    lines = [t for t in figure.data if t.mode == "lines"]
    assert len(lines) == 8
    assert lines[4].y == pytest.approx((0.5, 0.7, 0.9))
    assert lines[0].line.dash != lines[-1].line.dash
    assert list(named(figure)["pruned here"].x) == [1, 1, 2]
    assert sum(t.showlegend is not False for t in lines) == 2


def test_of_folds_the_mean_so_far_is_drawn(data: SearchReport) -> None:
    row = course(data, 0, 0.3, 0.5, 0.6, 0.8)
    folds = (FoldResult(1, 2, 0.5, 0.5, 0.5, 0.5), FoldResult(2, 4, 0.2, 0.8, 0.35, 0.65))
    crossed = replace(row, run=replace(row.run, folds=(0, 1)), folds=folds)
    split = data.config.data.split.model_copy(update={"folds": 2})
    part = data.config.data.model_copy(update={"split": split})
    changed = replace(data, config=data.config.model_copy(update={"data": part}))
    found = drawn(Intermediate.compute(with_rows(changed, [crossed])), Intermediate)
    line = found.draw().data[0]
    assert (found.step, line.x, line.y) == ("fold", (1, 2), (0.5, 0.65))
    in_its_first = replace(crossed, folds=(), state="pruned", value=None)
    assert isinstance(Intermediate.compute(with_rows(changed, [in_its_first])), Absent)


def test_of_many_trials_some_are_drawn_and_all_are_counted(data: SearchReport) -> None:
    many = with_rows(data, [course(data, i, i / 500, i / 400) for i in range(200)])
    found = drawn(Intermediate.compute(many), Intermediate)
    assert (len(found.complete), found.num_complete) == (search.MAX_LINES, 200)
    assert (found.complete[0], found.complete[-1]) == (199, 0)
    assert "60 lines of 200 complete, evenly" in found.caption
    assert "No trial was pruned." in found.caption
    lines = drawn(Parallel.compute(many), Parallel)
    assert len(lines.numbers) == MAX_PARALLEL
    assert (lines.numbers[0], lines.numbers[-1]) == (199, 0)
    assert "100 trials of 200 are drawn" in lines.caption


def test_parallel_lines_go_through_value_and_settings(two: SearchReport) -> None:
    found = drawn(Parallel.compute(two), Parallel)
    assert found.dimensions == (
        "freeze_depth", "lr", "lr_ratio", "optimizer", "optimizer.sgd.momentum", "dropout",
        "batch_size",
    )  # fmt: skip
    figure = found.draw()
    names = [name.replace("<br>", "") for name in figure.layout.yaxis.ticktext]
    assert names == ["validation accuracy", *sorted(found.dimensions)]
    best = next(t for t in figure.data if t.name.startswith("the best tenth"))
    worse = next(t for t in figure.data if t.name.startswith("the worse half"))
    assert (best.x[0], worse.x[0]) == (1, 0)
    assert best.line.dash != worse.line.dash
    momentum, depth = names.index("optimizer.sgd.momentum"), names.index("freeze_depth")
    assert (best.x[depth], worse.x[depth]) == (1, 0)
    notes = {(note.y, note.text) for note in figure.layout.annotations}
    assert (momentum, "None") in notes
    assert {text for y, text in notes if y == depth} == {"0", "5"}, "no half of a layer group"
    assert "The best tenth has: freeze_depth 5; lr 0.1;" in found.alt


def test_of_many_dimensions_those_that_mattered_are_shown_in_their_order() -> None:
    names = [f"d{i}" for i in range(5)]
    shares = tuple(Share(f"d{i}", i / 10, 0.0) for i in range(4))
    found = Importances(shares, 20, 20, ("d4",), ())
    assert leading(names, found, most=2) == ("d2", "d3")
    assert leading(names, Absent("few"), most=2) == ("d0", "d1")


def test_slices_hold_ranges_and_choices_with_their_medians_and_the_winner(
    data: SearchReport, two: SearchReport
) -> None:
    found = drawn(Slices.compute(two), Slices)
    assert list(found.dimensions) == [
        "lr", "lr_ratio", "optimizer", "optimizer.sgd.momentum", "dropout", "batch_size",
    ]  # fmt: skip
    assert found.medians["optimizer"] == {"adam": (0.8, 1), "sgd": (0.9, 1)}
    figure = found.draw()
    traces = dict(zip(sorted(found.dimensions), figure.data, strict=False))
    assert sorted(traces["lr"].x) == [0.001, 0.1]
    assert set(traces["optimizer"].x) == {"sgd", "adam"}
    stars = {n: [x for x, s in zip(t.x, t.marker.symbol, strict=True) if s == "star"]
             for n, t in traces.items()}  # fmt: skip
    assert (stars["lr"], stars["optimizer"], stars["batch_size"]) == ([0.1], ["sgd"], ["64"])
    types = [figure.layout[f"xaxis{i}"].type for i in ("", 3)]
    assert types == ["category", "log"]
    assert "batch_size: 64 85.0\u00a0% (2 trials)" in found.caption
    assert "lr 0.1;" in found.alt
    without = drawn(Slices.compute(with_rows(data, [trial(data, 0, 0.9, ADAM)])), Slices)
    assert "Not shown: optimizer.sgd.momentum." in without.caption


def test_importances_are_drawn_as_they_were_computed(data: SearchReport) -> None:
    found = drawn(ImportancePlot.compute(data), ImportancePlot)
    bars, words = found.draw().data
    shares = data.importances
    assert isinstance(shares, Importances)
    assert list(bars.y) == [one.name for one in reversed(shares.shares)]
    assert list(bars.x) == pytest.approx([s.share for s in reversed(shares.shares)], rel=1e-4)
    assert len(words.text) == len(bars.x)


def test_the_timeline_holds_every_run_that_ended(data: SearchReport) -> None:
    base = next(r for r in data.fixed if r.run.role == "baseline")
    rows = [
        at(search_row(data, 0), 0, 40),
        at(search_row(data, 1), 40, 100, state="pruned", value=None),
        at(search_row(data, 2), 60, 100, state="failed", value=None, epochs=()),
        at(base, 0, 60),
        replace(search_row(data, 3), started=None, ended=None, state="waiting"),
    ]
    found = drawn(Timeline.compute(with_rows(data, rows)), Timeline)
    assert [name for name, *_ in found.runs] == [
        "trial 0", base.run.label, "trial 1", "trial 2",
    ]  # fmt: skip
    assert "up to 2 ran at once" in found.caption
    figure = found.draw()
    assert set(named(figure)) == {"complete", "pruned", "failed or diverged"}
    assert named(figure)["pruned"].x == (60_000,)
    assert len({bars.marker.pattern.shape for bars in figure.data}) == 3
    many = [at(search_row(data, i), i, i + 1) for i in range(search.MAX_BARS + 5)]
    latest = drawn(Timeline.compute(with_rows(data, many)), Timeline)
    assert latest.runs[0][0] == "trial 5"
    assert "5 earlier runs are not shown" in latest.caption


def test_runs_that_overlap_are_counted() -> None:
    start = datetime(2026, 1, 1)
    spans = [(3 * (i % 7) + i / 2, 3 * (i % 7) + i / 2 + 1 + i % 4) for i in range(40)]
    moments = [tuple(start + timedelta(seconds=s) for s in span) for span in spans]
    most = max(sum(a <= moment < b for a, b in spans) for moment, _ in spans)
    assert num_at_once(moments) == most  # type: ignore[arg-type]


def test_nothing_to_draw_is_said(data: SearchReport) -> None:
    none = with_rows(data, [])
    for figure in (Parallel, Slices):
        assert figure.compute(none) == Absent("No trial has been completed yet.")
    space = type(data.config.space)()
    plain = replace(data, config=data.config.model_copy(update={"space": space}))
    assert isinstance(Parallel.compute(plain), Absent)
    assert isinstance(Slices.compute(plain), Absent)
    waiting = replace(search_row(data, 0), started=None, ended=None, state="waiting")
    assert Timeline.compute(with_rows(data, [waiting])) == Absent("No run has ended yet.")
